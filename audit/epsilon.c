#include "audit/audit.h"
#include "base/file.h"
#include "base/json.h"
#include "privacy/decimal.h"
#include "privacy/pld.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS_MAX = 100000, SEGMENTS_FILE_MAX = 16 << 20, ORDERS_MAX = 1023 };
static const double SIGMA_MIN = 1e-3, SIGMA_MAX = 1e9;
static const int64_t STEPS_MAX = 1000000000000000;

const fl_cli_option audit_epsilon_options[] = {
    {"sampling-rate", "q", "probability of a patient to be in a step, above 0 and at most 1", false},
    {"noise-multiplier", "s", "noise standard deviation over the clip norm", false},
    {"steps", "T", "number of steps", false},
    {"segments", "FILE.json",
     "several of these, composed: [{\"sampling_rate\":q,\"noise_multiplier\":s,\"steps\":T},...]", false},
    {"delta", "d", "between 0 and 1", true},
    {"orders", "a,b,..", "Renyi orders, 1.01 to 1024 (default: 1.1 to 10.9 by 0.1, 11..63, 128, 256, 512, 1024)",
     false},
    {"json", NULL, "one JSON document on stdout", false},
    {0},
};

typedef struct schedule {
    dp_segment *segments;
    size_t n;
    double delta;
    double orders[ORDERS_MAX];
    size_t n_orders;
} schedule;

typedef struct answer {
    double rdp[ORDERS_MAX];
    double epsilon, order;
    bool is_at_end; /* the best order is the least or the largest: others might be better */
    fl_code bounds; /* FL_EREFUSED: none, refusal says why */
    double low, high;
    fl_err refusal;
} answer;

static fl_code check_segment(const char *thing, double q, double sigma, double steps, fl_err *err)
{
    if (!(q > 0 && q <= 1))
        return fl_fail(err, FL_EFORMAT, "%s: sampling rate is %g: must be above 0 and at most 1", thing, q);
    if (!(sigma >= SIGMA_MIN && sigma <= SIGMA_MAX))
        return fl_fail(err, FL_EFORMAT, "%s: noise multiplier is %g: must be from %g to %g", thing, sigma, SIGMA_MIN,
                       SIGMA_MAX);
    if (!(steps >= 1 && steps <= (double)STEPS_MAX))
        return fl_fail(err, FL_EFORMAT, "%s: steps is %g: must be a whole number from 1 to %" PRId64, thing, steps,
                       STEPS_MAX);
    return FL_OK;
}

/* "2,3.5,64": none twice. */
static fl_code parse_orders(schedule *s, const char *text, fl_err *err)
{
    for (const char *p = text;;) {
        char one[40];
        double order;
        size_t n = strcspn(p, ",");
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one - 1), p);
        if (n >= sizeof one || !dp_decimal_value(&order, one))
            return fl_fail(err, FL_EFORMAT, "--orders: \"%s\" is not a number: write them like 2,4.5,64", one);
        if (!(order >= DP_REAL_ORDER_MIN && order <= DP_ORDER_MAX))
            return fl_fail(err, FL_EFORMAT, "--orders: %s: must be from %g to %u", one, DP_REAL_ORDER_MIN,
                           DP_ORDER_MAX);
        for (size_t i = 0; i < s->n_orders; i++) {
            if (s->orders[i] == order)
                return fl_fail(err, FL_EFORMAT, "--orders: %s stands there twice", one);
        }
        if (s->n_orders == ORDERS_MAX)
            return fl_fail(err, FL_EFORMAT, "--orders: more than %d of them", ORDERS_MAX);
        s->orders[s->n_orders++] = order;
        if (p[n] == 0)
            return FL_OK;
        p += n + 1;
    }
}

static fl_code read_segment(dp_segment *out, const fl_json *item, const char *thing, fl_err *err)
{
    double q, sigma, steps;
    if (!fl_json_is_object(item) || !fl_json_real(item, "sampling_rate", &q) ||
        !fl_json_real(item, "noise_multiplier", &sigma) || !fl_json_real(item, "steps", &steps))
        return fl_fail(err, FL_EFORMAT, "%s: needs the numbers sampling_rate, noise_multiplier and steps", thing);
    if (fl_json_count(item) != 3)
        return fl_fail(err, FL_EFORMAT, "%s: has members other than sampling_rate, noise_multiplier and steps", thing);
    FL_TRY(check_segment(thing, q, sigma, steps, err));
    if (steps != floor(steps))
        return fl_fail(err, FL_EFORMAT, "%s: steps is %g: must be a whole number", thing, steps);
    *out = (dp_segment){.q = q, .sigma = sigma, .steps = (uint64_t)steps};
    return FL_OK;
}

fl_code audit_segments_read(dp_segment **out, size_t *n, const char *text, size_t size, const char *name, fl_err *err)
{
    fl_json *list = NULL;
    *out = NULL;
    *n = 0;
    FL_TRY(fl_json_parse(&list, text, size, name, err));
    size_t count = fl_json_is_array(list) ? fl_json_count(list) : 0;
    fl_code code = FL_OK;
    if (count < 1 || count > SEGMENTS_MAX)
        code = fl_fail(err, FL_EFORMAT, "%s: expected an array of 1 to %d segments", name, SEGMENTS_MAX);
    if (code == FL_OK && !(*out = calloc(count, sizeof **out)))
        code = fl_fail(err, FL_EENV, "%s: no memory left", name);
    for (size_t i = 0; i < count && code == FL_OK; i++) {
        char thing[300];
        snprintf(thing, sizeof thing, "%.250s: segment %zu", name, i + 1);
        code = read_segment(&(*out)[i], fl_json_at(list, i), thing, err);
    }
    fl_json_free(list);
    if (code != FL_OK) {
        free(*out);
        *out = NULL;
        return code;
    }
    *n = count;
    return FL_OK;
}

static fl_code read_segments(schedule *s, const char *path, fl_err *err)
{
    fl_buf text;
    fl_buf_init(&text, SEGMENTS_FILE_MAX);
    fl_code code = fl_file_read(&text, path, err);
    if (code == FL_OK)
        code = audit_segments_read(&s->segments, &s->n, fl_buf_text(&text), text.size, path, err);
    fl_buf_fini(&text);
    return code;
}

static fl_code read_one(schedule *s, fl_cli *cli, fl_err *err)
{
    double q = 0, sigma = 0;
    int64_t steps = 0;
    if (!fl_cli_value(cli, "sampling-rate") || !fl_cli_value(cli, "noise-multiplier") || !fl_cli_value(cli, "steps"))
        return fl_fail(err, FL_EFORMAT,
                       "schedule: give --sampling-rate, --noise-multiplier and --steps, or --segments");
    FL_TRY(fl_cli_real(cli, "sampling-rate", &q, 0, 1, err));
    FL_TRY(fl_cli_real(cli, "noise-multiplier", &sigma, 0, SIGMA_MAX, err));
    FL_TRY(fl_cli_int(cli, "steps", &steps, 1, STEPS_MAX, err));
    FL_TRY(check_segment("schedule", q, sigma, (double)steps, err));
    s->segments = malloc(sizeof *s->segments);
    if (!s->segments)
        return fl_fail(err, FL_EENV, "schedule: no memory left");
    s->segments[0] = (dp_segment){.q = q, .sigma = sigma, .steps = (uint64_t)steps};
    s->n = 1;
    return FL_OK;
}

static fl_code read_schedule(schedule *s, fl_cli *cli, fl_err *err)
{
    FL_TRY(fl_cli_real(cli, "delta", &s->delta, 0, 1, err));
    if (!(s->delta > 0 && s->delta < 1))
        return fl_fail(err, FL_EFORMAT, "--delta: is %g: must be above 0 and below 1", s->delta);
    if (fl_cli_value(cli, "orders")) {
        FL_TRY(parse_orders(s, fl_cli_value(cli, "orders"), err));
    } else {
        memcpy(s->orders, dp_real_orders, sizeof dp_real_orders);
        s->n_orders = DP_N_REAL_ORDERS;
    }
    if (!fl_cli_value(cli, "segments"))
        return read_one(s, cli, err);
    if (fl_cli_value(cli, "sampling-rate") || fl_cli_value(cli, "noise-multiplier") || fl_cli_value(cli, "steps"))
        return fl_fail(err, FL_EFORMAT,
                       "schedule: --segments stands alone, without --sampling-rate, --noise-multiplier, "
                       "--steps");
    return read_segments(s, fl_cli_value(cli, "segments"), err);
}

static fl_code compute(answer *a, const schedule *s, fl_err *err)
{
    FL_TRY(dp_rdp_curve(a->rdp, s->segments, s->n, s->orders, s->n_orders, err));
    a->order = s->orders[dp_rdp_best(&a->epsilon, a->rdp, s->orders, s->n_orders, s->delta)];
    double least = a->order, largest = a->order;
    for (size_t i = 0; i < s->n_orders; i++) {
        least = fmin(least, s->orders[i]);
        largest = fmax(largest, s->orders[i]);
    }
    a->is_at_end = s->n_orders > 1 && a->epsilon > 0 && (a->order == least || a->order == largest);
    a->bounds = dp_pld_epsilon(&a->low, &a->high, s->segments, s->n, s->delta, &a->refusal);
    if (a->bounds != FL_OK && a->bounds != FL_EREFUSED)
        *err = a->refusal;
    return a->bounds == FL_EREFUSED ? FL_OK : a->bounds;
}

static void set_order(fl_json *j, const char *name, double order)
{
    if (order == floor(order))
        fl_json_set_int(j, name, (int64_t)order);
    else
        fl_json_set_real(j, name, order);
}

static void print_json(FILE *out, const schedule *s, const answer *a)
{
    fl_json *j = fl_json_object(), *rdp = fl_json_array();
    fl_json_set_real(j, "epsilon_rdp", a->epsilon);
    set_order(j, "rdp_order", a->order);
    if (a->is_at_end)
        fl_json_set_text(j, "rdp_order_note", "the best order is at an end of the list: others may give less");
    if (a->bounds == FL_OK) {
        fl_json_set_real(j, "epsilon_low", a->low);
        fl_json_set_real(j, "epsilon_high", a->high);
    } else {
        fl_json_set_null(j, "epsilon_low");
        fl_json_set_null(j, "epsilon_high");
        fl_json_set_text(j, "bounds_refused", a->refusal.text);
    }
    fl_json_set_real(j, "delta", s->delta);
    for (size_t i = 0; i < s->n_orders; i++) {
        fl_json *row = fl_json_object();
        set_order(row, "order", s->orders[i]);
        fl_json_set_real(row, "value", a->rdp[i]);
        fl_json_push(rdp, row);
    }
    fl_json_set(j, "rdp", rdp);
    fl_buf text;
    fl_buf_init(&text, 1 << 20);
    fl_json_print(&text, j, 2);
    fprintf(out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(j);
}

static void print_text(FILE *out, const schedule *s, const answer *a)
{
    if (a->bounds == FL_OK)
        fprintf(out, "%.7g <= epsilon <= %.7g at delta %g (certified; add or remove one patient)\n", a->low, a->high,
                s->delta);
    else
        fprintf(out, "no certified bounds: %s\n", a->refusal.text);
    fprintf(out, "epsilon <= %.6g at delta %g by Renyi order %g%s\n", a->epsilon, s->delta, a->order,
            a->is_at_end ? ", at an end of the list: other orders may give less" : "");
}

int audit_epsilon(fl_cli *cli)
{
    fl_err err;
    schedule s = {0};
    answer *a = calloc(1, sizeof *a);
    fl_code code = a ? read_schedule(&s, cli, &err) : fl_fail(&err, FL_EENV, "schedule: no memory left");
    if (code == FL_OK)
        code = compute(a, &s, &err);
    if (code == FL_OK) {
        if (fl_cli_flag(cli, "json"))
            print_json(cli->out, &s, a);
        else
            print_text(cli->out, &s, a);
    }
    free(s.segments);
    free(a);
    return code == FL_OK ? 0 : fl_cli_fail(cli, &err);
}
