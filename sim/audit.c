#include "sim/audit.h"

#include "base/json.h"
#include "base/rng.h"
#include "privacy/budget.h"
#include "privacy/decimal.h"
#include "privacy/empirical.h"
#include "privacy/pld.h"
#include "train/dpsgd.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The architecture `linear` averages squares of 2 x 2 pixels and has a weight for each class and square. */
enum {
    SIDE = 16,
    SQUARES = SIDE / 2 * SIDE / 2,
    LABELS = 32,
    PER_HOSPITAL = SQUARES * LABELS, /* canary c of a hospital: square c % SQUARES, label c / SQUARES */
    WEIGHTS = PER_HOSPITAL + LABELS
};
#define BRIGHT 4e4f /* a mean of 1e4 beside a bias' input of 1: the bias gets 1e-4 of the gradient */

/* --- the plan ---------------------------------------------------------------------------------------------------- */

/* The option without an exponent, as a study wants it. */
static fl_code read_decimal(char text[DP_DECIMAL_TEXT], const char *name, const char *given, double min, double max,
                            fl_err *err)
{
    dp_decimal d;
    if (!dp_decimal_parse(&d, given) || dp_decimal_to_double(&d) < min || dp_decimal_to_double(&d) > max)
        return fl_fail(err, FL_EFORMAT, "--%s: is %.40s, expected a number from %g to %g", name, given, min, max);
    dp_decimal_text(text, &d);
    return FL_OK;
}

/* The claim is computed here, not promised: as much as a filter takes with this delta, (1 + e^epsilon) 2^-66 < delta. */
static double largest_epsilon(double delta)
{
    return fmax(1, floor(log(delta) + 65 * M_LN2));
}

static fl_code make_plan(nn_plan *plan, const sim_audit_options *o, fl_err *err)
{
    char rate[DP_DECIMAL_TEXT], noise[DP_DECIMAL_TEXT], delta[DP_DECIMAL_TEXT];
    fl_code rc;
    if ((rc = read_decimal(rate, "sampling-rate", o->sampling_rate, 1e-9, 1, err)) ||
        (rc = read_decimal(noise, "noise-multiplier", o->noise_multiplier, 0.05, 1000, err)) ||
        (rc = read_decimal(delta, "delta", o->delta, 1e-15, 0.1, err)))
        return rc;
    fl_buf ini;
    fl_buf_init(&ini, 8192);
    fl_buf_printf(&ini, "[study]\nname = audit\nclasses = 0");
    for (int i = 1; i < LABELS; i++)
        fl_buf_printf(&ini, ",%d", i);
    fl_buf_printf(&ini,
                  "\nseed = 1\n[input]\nshape = 1x%dx%d\n[model]\narchitecture = linear\n"
                  "[rounds]\ncount = 1\nlocal_steps = %u\n[local]\nlearning_rate = 0.000001\n"
                  "[privacy]\nepsilon = %.0f\ndelta = %s\nsampling_rate = %s\nnoise_multiplier = %s\n",
                  SIDE, SIDE, o->steps, largest_epsilon(strtod(delta, NULL)), delta, rate, noise);
    rc = nn_plan_from_study(plan, fl_buf_text(&ini), "audit", ".", err);
    fl_buf_fini(&ini);
    assert(rc != FL_OK || plan->n_weights == WEIGHTS);
    return rc;
}

static fl_code check(const sim_audit_options *o, fl_err *err)
{
    assert(o->confidence > 0.5 && o->confidence < 1 && o->steps >= 1 && o->steps <= SIM_AUDIT_MAX_STEPS);
    assert(o->canaries >= 16 && o->canaries <= SIM_AUDIT_MAX_CANARIES && o->guesses >= 2);
    assert(o->trials >= 1 && o->trials <= SIM_AUDIT_MAX_TRIALS);
    if (o->guesses > o->canaries)
        return fl_fail(err, FL_EFORMAT, "--guesses: %u, but there are %u canaries", o->guesses, o->canaries);
    return FL_OK;
}

/* --- the attack -------------------------------------------------------------------------------------------------- */

typedef struct canary {
    double score;
    uint32_t index;
    bool is_in;
} canary;

static int by_score(const void *a, const void *b)
{
    const canary *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index; /* an order that knows nothing of the coins */
}

/* How many of the guesses are right. Sorts. */
static uint32_t guess(canary *list, const sim_audit_options *o)
{
    uint32_t right = 0, high = (o->guesses + 1) / 2, low = o->guesses - high;
    qsort(list, o->canaries, sizeof *list, by_score);
    for (uint32_t i = 0; i < low; i++)
        right += !list[i].is_in;
    for (uint32_t i = 0; i < high; i++)
        right += list[o->canaries - 1 - i].is_in;
    return right;
}

static double bound_of(const sim_audit_options *o, double delta, uint32_t right)
{
    return dp_one_run_epsilon(o->canaries, o->guesses, right, delta, o->confidence);
}

/* One coin for each canary. */
static void flip(canary *list, uint32_t n, fl_rng *rng)
{
    for (uint32_t i = 0; i < n; i++)
        list[i] = (canary){.index = i, .is_in = fl_rng_below(rng, 2) == 1};
}

/* The release as the accountant imagines it, projected: Bin(steps, q) + N(0, steps sigma^2) for who is in. */
static double simulated(canary *list, const sim_audit_options *o, const nn_plan *plan, double factor, double delta)
{
    const nn_phase *m = nn_plan_main(plan);
    const double q = dp_rate_to_double(m->rate);
    const double sd = factor * sqrt((double)m->noise_variance * o->steps) / m->clip_units;
    fl_rng rng;
    fl_rng_init(&rng, o->seed, UINT64_MAX);
    flip(list, o->canaries, &rng);
    for (uint32_t i = 0; i < o->canaries; i++) {
        double taken = 0;
        for (uint32_t k = 0; k < o->steps && list[i].is_in; k++)
            taken += q >= 1 || fl_rng_uniform(&rng) < q;
        list[i].score = taken + sd * fl_rng_normal(&rng);
    }
    return bound_of(o, delta, guess(list, o));
}

/* --- the training ------------------------------------------------------------------------------------------------ */

/* The hospital of those among n canaries that are in. */
static fl_code admit(nn_dataset *d, const canary *list, uint32_t n, fl_err *err)
{
    float image[SIDE * SIDE] = {0};
    fl_code rc = nn_dataset_init(d, 1, SIDE, SIDE, err);
    for (uint32_t c = 0; c < n && rc == FL_OK; c++) {
        uint32_t square = c % SQUARES, label = c / SQUARES;
        uint8_t key[32] = {(uint8_t)c, (uint8_t)(c >> 8)};
        float *pixel = &image[2 * (square / (SIDE / 2)) * SIDE + 2 * (square % (SIDE / 2))];
        if (!list[c].is_in)
            continue;
        *pixel = BRIGHT;
        rc = nn_dataset_append_patient(d, key, image, &label, 1, err);
        *pixel = 0;
    }
    return rc;
}

/* At weights of zero all classes are equal: the gradient is (1/32 - [o = label]) times the mean on weight (o, square). */
static void score(canary *list, uint32_t n, const int64_t *u)
{
    const double share = 1.0 / LABELS, norm = sqrt((1 - share) * (1 - share) + (LABELS - 1) * share * share);
    for (uint32_t c = 0; c < n; c++) {
        uint32_t square = c % SQUARES, label = c / SQUARES;
        double sum = 0;
        for (uint32_t o = 0; o < LABELS; o++)
            sum += (double)u[o * SQUARES + square] * (o == label ? share - 1 : share);
        list[c].score = sum / norm;
    }
}

static fl_code train(dp_noised *u, const nn_plan *plan, const canary *list, uint32_t n, fl_pool *pool, fl_csprng *r,
                     fl_err *err)
{
    static const float zeros[WEIGHTS];
    nn_dataset d = {0};
    nn_trainer *t = NULL;
    fl_code rc = admit(&d, list, n, err);
    if (rc == FL_OK && (rc = nn_trainer_create(&t, plan, &d, pool, err)) == FL_OK)
        rc = nn_trainer_update(t, u, zeros, PER_HOSPITAL, 1, r, NULL, err);
    nn_trainer_destroy(t);
    nn_dataset_fini(&d);
    return rc;
}

/* Every canary's coin and score. */
static fl_code run(canary *list, const sim_audit_options *o, const nn_plan *plan, fl_pool *pool, uint32_t trial,
                   fl_err *err)
{
    dp_noised *u = NULL;
    const uint32_t n_hospitals = (o->canaries + PER_HOSPITAL - 1) / PER_HOSPITAL;
    fl_csprng r;
    fl_rng rng;
    fl_code rc = dp_noised_create(&u, plan->n_weights + nn_plan_main(plan)->probe, err);
    fl_rng_init(&rng, o->seed, trial);
    flip(list, o->canaries, &rng);
    fl_csprng_init(&r);
    for (uint32_t h = 0; h < n_hospitals && rc == FL_OK; h++) {
        canary *first = list + (size_t)h * PER_HOSPITAL;
        uint32_t n = h + 1 < n_hospitals ? PER_HOSPITAL : o->canaries - h * PER_HOSPITAL;
        rc = train(u, plan, first, n, pool, &r, err);
        score(first, n, dp_noised_values(u));
        if (o->progress)
            o->progress(o->ctx, trial * n_hospitals + h + 1, o->trials * n_hospitals);
    }
    fl_csprng_fini(&r);
    dp_noised_destroy(u);
    return rc;
}

/* What our accountants say, the discrete noise included: as an auditor computes it from a ledger (privacy/replay.h). Drawing
 * 2080 integers adds less than 1e-28 to it. */
static fl_code claim_of(sim_audit_result *r, const nn_plan *plan, double delta, fl_err *err)
{
    const nn_phase *m = nn_plan_main(plan);
    dp_segment s = {dp_rate_to_double(m->rate), (double)dp_multiplier_micro(m->noise_variance, m->clip_units) / 1e6,
                    m->local_steps};
    double low, high;
    r->claim = dp_epsilon_rdp(&s, 1, delta, NULL);
    r->claim_by = "rdp";
    if (m->noise_variance <= 8)
        return FL_OK;
    s.sigma = sqrt((double)m->noise_variance - 4) / m->clip_units;
    fl_code rc = dp_pld_epsilon(&low, &high, &s, 1, delta, err);
    if (rc == FL_OK && high < r->claim) {
        r->claim = high;
        r->claim_by = "pld";
    }
    return rc == FL_EREFUSED ? FL_OK : rc;
}

static int downward(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

static void combine(sim_audit_result *r, double confidence)
{
    double sorted[SIM_AUDIT_MAX_TRIALS];
    memcpy(sorted, r->bound, r->n_trials * sizeof *sorted);
    qsort(sorted, r->n_trials, sizeof *sorted, downward);
    r->rank = 1;
    while (r->rank < r->n_trials &&
           dp_binomial_tail(r->rank, r->n_trials, 1 - confidence, confidence) > (1 - confidence) * (1 + 1e-9))
        r->rank++;
    r->epsilon = sorted[r->rank - 1];
}

fl_code sim_audit(sim_audit_result *r, const sim_audit_options *o, fl_err *err)
{
    memset(r, 0, sizeof *r);
    fl_pool *pool = NULL;
    nn_plan *plan = calloc(1, sizeof *plan);
    canary *list = calloc(o->canaries, sizeof *list);
    double delta = 0;
    fl_code rc = plan && list ? check(o, err) : fl_fail(err, FL_EENV, "audit: out of memory");
    if (rc == FL_OK && (rc = make_plan(plan, o, err)) == FL_OK &&
        (rc = fl_pool_create(&pool, o->n_threads, err)) == FL_OK) {
        bool is_number = dp_decimal_value(&delta, plan->delta);
        assert(is_number);
        (void)is_number;
        rc = claim_of(r, plan, delta, err);
        r->reach = bound_of(o, delta, o->guesses);
        r->expected = simulated(list, o, plan, 1, delta);
        r->expected_half = simulated(list, o, plan, 0.5, delta);
    }
    for (uint32_t i = 0; i < o->trials && rc == FL_OK; i++) {
        rc = run(list, o, plan, pool, i, err);
        r->right[i] = guess(list, o);
        r->bound[i] = bound_of(o, delta, r->right[i]);
        r->n_trials = i + 1;
    }
    if (rc == FL_OK)
        combine(r, o->confidence);
    fl_pool_destroy(pool);
    free(list);
    free(plan);
    return rc;
}

bool sim_audit_holds(const sim_audit_result *r)
{
    return r->epsilon <= r->claim;
}

bool sim_audit_has_power(const sim_audit_result *r)
{
    return r->expected_half > r->claim;
}

/* --- what is said ------------------------------------------------------------------------------------------------ */

void sim_audit_print(FILE *out, const sim_audit_result *r, const sim_audit_options *o)
{
    uint64_t right = 0;
    double least = r->bound[0], largest = r->bound[0];
    for (uint32_t i = 0; i < r->n_trials; i++) {
        least = fmin(least, r->bound[i]);
        largest = fmax(largest, r->bound[i]);
        right += r->right[i];
    }
    fprintf(out, "%u canaries, %u guesses; sampling rate %s, noise multiplier %s, %u step%s, delta %s\n", o->canaries,
            o->guesses, o->sampling_rate, o->noise_multiplier, o->steps, o->steps == 1 ? "" : "s", o->delta);
    fprintf(out, "claim      epsilon %.3f (%s)\n", r->claim, r->claim_by);
    fprintf(out, "measured   epsilon %.3f at least, with confidence %g: %.1f %% of the guesses are right\n", r->epsilon,
            o->confidence, 100.0 * (double)right / r->n_trials / o->guesses);
    if (r->n_trials > 1)
        fprintf(out, "           number %u from above of %u trials, %.3f to %.3f\n", r->rank, r->n_trials, least,
                largest);
    fprintf(out, "power      expected %.3f; with half the noise %.3f; with every guess right %.3f\n", r->expected,
            r->expected_half, r->reach);
    if (!sim_audit_has_power(r))
        fprintf(out, "warning    half the noise would not be seen%s: more canaries, other guesses or other terms\n",
                r->reach <= r->claim ? ", nor anything else" : "");
    fprintf(out, "verdict    %s\n",
            sim_audit_holds(r) ? "the claim stands" : "REFUTED: this build tells more about a patient than it says");
}

void sim_audit_json(fl_buf *out, const sim_audit_result *r, const sim_audit_options *o)
{
    fl_json *j = fl_json_object(), *bounds = fl_json_array(), *right = fl_json_array();
    for (uint32_t i = 0; i < r->n_trials; i++) {
        fl_json_push_real(bounds, r->bound[i]);
        fl_json_push_int(right, r->right[i]);
    }
    fl_json_set_int(j, "canaries", o->canaries);
    fl_json_set_int(j, "guesses", o->guesses);
    fl_json_set_int(j, "steps", o->steps);
    fl_json_set_text(j, "sampling_rate", o->sampling_rate);
    fl_json_set_text(j, "noise_multiplier", o->noise_multiplier);
    fl_json_set_text(j, "delta", o->delta);
    fl_json_set_real(j, "confidence", o->confidence);
    fl_json_set_real(j, "claim", r->claim);
    fl_json_set_text(j, "claim_by", r->claim_by);
    fl_json_set(j, "right", right);
    fl_json_set(j, "bounds", bounds);
    fl_json_set_real(j, "epsilon", r->epsilon);
    fl_json_set_int(j, "rank", r->rank);
    fl_json_set_real(j, "expected", r->expected);
    fl_json_set_real(j, "expected_with_half_the_noise", r->expected_half);
    fl_json_set_real(j, "largest_possible", r->reach);
    fl_json_set_bool(j, "has_power", sim_audit_has_power(r));
    fl_json_set_bool(j, "holds", sim_audit_holds(r));
    fl_json_print(out, j, 2);
    fl_json_free(j);
}
