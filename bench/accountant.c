#include "bench/bench.h"

#include "privacy/pld.h"

#include <inttypes.h>
#include <math.h>

enum { REPEATS = 5 };

const fl_cli_option bench_accountant_options[] = {
    {"sampling-rate", "q", "above 0 and at most 1", true},
    {"noise-multiplier", "s", "0.05 to 10000", true},
    {"steps", "T", "1 to 1000000000", true},
    {"delta", "d", "between 0 and 1", true},
    {0},
};

static fl_code read_terms(dp_segment *s, double *delta, fl_cli *cli, fl_err *err)
{
    int64_t steps;
    FL_TRY(fl_cli_real(cli, "sampling-rate", &s->q, 0, 1, err));
    FL_TRY(fl_cli_real(cli, "noise-multiplier", &s->sigma, 0.05, 1e4, err));
    FL_TRY(fl_cli_int(cli, "steps", &steps, 1, 1000000000, err));
    FL_TRY(fl_cli_real(cli, "delta", delta, 0, 1, err));
    if (!(s->q > 0 && *delta > 0 && *delta < 1))
        return fl_fail(err, FL_EFORMAT, "accountant: rate and delta must be above 0, delta below 1");
    s->steps = (uint64_t)steps;
    return FL_OK;
}

/* Nothing is kept between the repeats: each is cold. */
static fl_code measure(double *rdp_ms, double *pld_ms, double bounds[2], const dp_segment *s, double delta, fl_err *err)
{
    double rdp[REPEATS], pld[REPEATS], curve[DP_N_REAL_ORDERS];
    for (int i = -1; i < REPEATS; i++) {
        double start = bench_now_s();
        FL_TRY(dp_rdp_curve(curve, s, 1, dp_real_orders, DP_N_REAL_ORDERS, err));
        double middle = bench_now_s();
        FL_TRY(dp_pld_epsilon(&bounds[0], &bounds[1], s, 1, delta, err));
        if (i < 0)
            continue;
        rdp[i] = (middle - start) * 1e3;
        pld[i] = (bench_now_s() - middle) * 1e3;
    }
    *rdp_ms = bench_median(rdp, REPEATS);
    *pld_ms = bench_median(pld, REPEATS);
    return FL_OK;
}

int bench_accountant(fl_cli *cli)
{
    fl_err err;
    dp_segment s;
    double delta, rdp_ms, pld_ms, bounds[2];
    if (read_terms(&s, &delta, cli, &err) != FL_OK || measure(&rdp_ms, &pld_ms, bounds, &s, delta, &err) != FL_OK)
        return fl_cli_fail(cli, &err);
    fl_json *j = fl_json_object();
    fl_json_set_real(j, "rdp_ms", rdp_ms);
    fl_json_set_real(j, "pld_ms", pld_ms);
    fl_json_set_int(j, "orders", DP_N_REAL_ORDERS);
    fl_json_set_real(j, "epsilon_low", bounds[0]);
    fl_json_set_real(j, "epsilon_high", bounds[1]);
    return bench_print(cli, j);
}
