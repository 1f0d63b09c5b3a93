#include "train/server.h"
#include "base/arena.h"
#include "base/encode.h"
#include "crypto/hash.h"
#include "train/model.h"
#include "train/pretrained.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char magic[2][8] = {{'C', 'O', 'R', 'D', 'N', 'S', 'V', '1'}, {'C', 'O', 'R', 'D', 'N', 'S', 'V', '2'}};
#define HEADER 56

static const double SECOND = 0.999, TINY = 1e-8; /* of adam */

static bool has_second(const nn_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        if (plan->phases[i].server == NN_SERVER_ADAM)
            return true;
    }
    return false;
}

static fl_code no_memory(nn_server *s, size_t n, fl_err *err)
{
    nn_server_fini(s);
    return fl_fail(err, FL_EENV, "server: no memory for %zu weights", n);
}

static fl_code allocate(nn_server *s, const nn_plan *plan, fl_err *err)
{
    size_t n = plan->n_weights;
    *s = (nn_server){.n_weights = n, .plan_hash = plan->hash};
    s->w = calloc(n, sizeof *s->w);
    s->momentum = calloc(n, sizeof *s->momentum);
    s->average = calloc(n, sizeof *s->average);
    if (has_second(plan))
        s->second = calloc(n, sizeof *s->second);
    if (!s->w || !s->momentum || !s->average || (has_second(plan) && !s->second))
        return no_memory(s, n, err);
    return FL_OK;
}

/* What each phase learns. */
static fl_code find_ranges(nn_server *s, const nn_plan *plan, nn_model *m, fl_err *err)
{
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        FL_TRY(nn_plan_aim(m, plan, &plan->phases[i], err));
        const size_t first = s->first_range[i], n = nn_model_n_ranges(m);
        assert(nn_model_n_learned(m) == plan->phases[i].n_learned);
        nn_range *more = realloc(s->ranges, (first + n) * sizeof *more);
        if (!more)
            return fl_fail(err, FL_EENV, "server: out of memory");
        s->ranges = more;
        for (size_t k = 0; k < n; k++)
            s->ranges[first + k] = nn_model_range(m, k);
        s->first_range[i + 1] = first + n;
    }
    return FL_OK;
}

/* Memory, ranges and the seed's weights. */
static fl_code prepare(nn_server *s, nn_model **m, const nn_plan *plan, fl_err *err)
{
    *s = (nn_server){0};
    FL_TRY(nn_model_create(m, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err));
    assert(nn_model_n_weights(*m) == plan->n_weights && plan->n_phases >= 1);
    FL_TRY(allocate(s, plan, err));
    return find_ranges(s, plan, *m, err);
}

static fl_code check_pretrained(const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err)
{
    char hex[2 * FL_HASH_SIZE + 1] = "";
    if (bytes) {
        const fl_hash hash = fl_sha256(bytes, n);
        fl_hex_encode(hex, hash.bytes, FL_HASH_SIZE);
    }
    if (strcmp(hex, plan->initial) == 0)
        return FL_OK;
    return fl_fail(err, FL_EREFUSED, "server: the pretrained weights are not those of the plan (%.12s...)",
                   plan->initial[0] ? plan->initial : "none");
}

fl_code nn_server_init(nn_server *s, const nn_plan *plan, const uint8_t *pretrained, size_t n_bytes, fl_buf *report,
                       fl_err *err)
{
    nn_model *m = NULL;
    fl_code rc = check_pretrained(plan, pretrained, n_bytes, err);
    *s = (nn_server){0};
    if (rc == FL_OK)
        rc = prepare(s, &m, plan, err);
    if (rc == FL_OK) {
        nn_model_init_weights(m, s->w, plan->seed);
        if (pretrained)
            rc = nn_pretrained_take(s->w, m, plan->pretrained_channels, pretrained, n_bytes, report, err);
    }
    nn_model_destroy(m);
    if (rc != FL_OK)
        nn_server_fini(s);
    return rc;
}

void nn_server_fini(nn_server *s)
{
    if (!s)
        return;
    free(s->w);
    free(s->momentum);
    free(s->second);
    free(s->average);
    free(s->ranges);
    *s = (nn_server){0};
}

void nn_server_sum(int64_t *sum_u, const int64_t *u, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum_u[i] += u[i];
}

/* --- a round --------------------------------------------------------------------------------------------------- */

/* What one round does to each weight of its phase. */
typedef struct step {
    const nn_phase *phase;
    uint32_t index; /* of the phase */
    bool is_first;  /* round of the phase */
    double unit, rate, keep, decay, share;
    double first_left, second_left; /* adam: 1 - b^k, 1 - c^k */
} step;

/* Weight of the newest model in the running mean; 0: it does not enter. */
static double share_of_newest(uint32_t n_averaged, const nn_phase *p, uint32_t t)
{
    switch (p->average) {
    case NN_AVERAGE_NONE:
        return 0;
    case NN_AVERAGE_EMA:
        return n_averaged == 0 ? 1 : 1 - p->average_value;
    case NN_AVERAGE_TAIL:
        /* the last round always enters */
        if (t + 1 < p->rounds && t < p->rounds * (1 - p->average_value))
            return 0;
        return 1.0 / (n_averaged + 1.0);
    }
    return 0;
}

static double power(double base, uint32_t exponent) /* the same bits wherever it runs */
{
    double product = 1;
    while (exponent-- > 0)
        product *= base;
    return product;
}

static double learning_rate(const nn_phase *p, uint32_t t)
{
    const double rate = p->server_learning_rate * p->local_learning_rate;
    if (t < p->warmup_rounds)
        return rate * (t + 1) / (p->warmup_rounds + 1.0);
    t -= p->warmup_rounds;
    switch (p->schedule) {
    case NN_SCHEDULE_CONSTANT:
        return rate;
    case NN_SCHEDULE_COSINE:
        return rate * ((1 + cos(M_PI * t / (p->rounds - p->warmup_rounds))) / 2);
    case NN_SCHEDULE_STEP:
        return rate * power(p->schedule_factor, t / p->schedule_every);
    }
    return rate;
}

static step step_of(const nn_server *s, const nn_plan *plan, uint64_t sum_declared, uint32_t round)
{
    const nn_phase *p = nn_plan_phase(plan, round + 1);
    const uint32_t t = round + 1 - p->first;
    const double keep = p->server == NN_SERVER_SGD ? 0 : p->server_momentum, rate = learning_rate(p, t);
    return (step){.phase = p,
                  .index = (uint32_t)(p - plan->phases),
                  .is_first = t == 0,
                  .unit = nn_phase_grid(p) / (dp_rate_to_double(p->rate) * (double)sum_declared),
                  .rate = rate,
                  .keep = keep,
                  .decay = rate * p->server_weight_decay,
                  .share = share_of_newest(t == 0 ? 0 : s->n_averaged, p, t),
                  .first_left = 1 - power(keep, t + 1),
                  .second_left = 1 - power(SECOND, t + 1)};
}

/* The weight after the step; *m and *v become those after it. */
static float stepped(const step *p, float w, double *m, double *v, int64_t sum_u)
{
    const double gradient = p->unit * (double)sum_u;
    if (p->phase->server != NN_SERVER_ADAM) {
        *m = p->keep * *m + gradient;
        return (float)(w - p->rate * *m - p->decay * w);
    }
    *m = p->keep * *m + (1 - p->keep) * gradient;
    *v = SECOND * *v + (1 - SECOND) * gradient * gradient;
    return (float)(w - p->rate * (*m / p->first_left) / (sqrt(*v / p->second_left) + TINY) - p->decay * w);
}

/* The state before the step as the phase sees it: at its start there is nothing. */
static void before(double *m, double *v, const nn_server *s, const step *p, size_t i)
{
    *m = p->is_first ? 0 : s->momentum[i];
    *v = p->is_first || !s->second ? 0 : s->second[i];
}

static bool stays_finite(const nn_server *s, const step *p, const int64_t *sum_u)
{
    for (size_t r = s->first_range[p->index]; r < s->first_range[p->index + 1]; r++) {
        const nn_range *range = &s->ranges[r];
        for (size_t i = range->offset; i < range->offset + range->size; i++) {
            double m, v;
            before(&m, &v, s, p, i);
            if (!isfinite(stepped(p, s->w[i], &m, &v, *sum_u++)))
                return false;
        }
    }
    return true;
}

static void take_step(nn_server *s, const step *p, const int64_t *sum_u)
{
    if (p->is_first) {
        memset(s->momentum, 0, s->n_weights * sizeof *s->momentum);
        memset(s->average, 0, s->n_weights * sizeof *s->average);
        if (s->second)
            memset(s->second, 0, s->n_weights * sizeof *s->second);
        s->n_averaged = 0;
    }
    for (size_t r = s->first_range[p->index]; r < s->first_range[p->index + 1]; r++) {
        const nn_range *range = &s->ranges[r];
        for (size_t i = range->offset; i < range->offset + range->size; i++) {
            double v = s->second ? s->second[i] : 0;
            s->w[i] = stepped(p, s->w[i], &s->momentum[i], &v, *sum_u++);
            if (s->second)
                s->second[i] = v;
            if (p->share > 0)
                s->average[i] += p->share * (s->w[i] - s->average[i]);
        }
    }
    s->n_averaged += p->share > 0;
    s->phase = p->index;
    s->rounds_done++;
}

fl_code nn_server_apply(nn_server *s, const nn_plan *plan, const int64_t *sum_u, uint64_t sum_declared, uint32_t round,
                        fl_err *err)
{
    assert(sum_declared >= 1 && s->n_weights == plan->n_weights && fl_hash_equal(&s->plan_hash, &plan->hash));
    if (round != s->rounds_done || round >= plan->rounds)
        return fl_fail(err, FL_EREFUSED, "server: round %u cannot be applied, the next of %u is %u", round,
                       plan->rounds, s->rounds_done);
    const step p = step_of(s, plan, sum_declared, round);
    if (!stays_finite(s, &p, sum_u))
        return fl_fail(err, FL_EREFUSED,
                       "server: round %u makes a weight that is not finite: the learning rate is too large", round);
    take_step(s, &p, sum_u);
    const bool is_over = s->rounds_done == p.phase->first + p.phase->rounds - 1;
    if (is_over && p.index + 1 < plan->n_phases && s->n_averaged > 0)
        nn_server_released_model(s, s->w);
    return FL_OK;
}

const float *nn_server_model(const nn_server *s)
{
    return s->w;
}

void nn_server_released_model(const nn_server *s, float *w)
{
    if (w != s->w)
        memcpy(w, s->w, s->n_weights * sizeof *w);
    if (s->n_averaged == 0)
        return;
    for (size_t r = s->first_range[s->phase]; r < s->first_range[s->phase + 1]; r++) {
        const nn_range *range = &s->ranges[r];
        for (size_t i = range->offset; i < range->offset + range->size; i++)
            w[i] = (float)s->average[i];
    }
}

/* --- bytes ----------------------------------------------------------------------------------------------------- */

size_t nn_server_size(const nn_plan *plan)
{
    return HEADER + fl_size_mul(plan->n_weights, 4 + 8 + 8 + (has_second(plan) ? 8 : 0));
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void add_doubles(fl_buf *out, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        uint8_t bytes[8];
        memcpy(&bits, &x[i], sizeof bits);
        for (int j = 0; j < 8; j++)
            bytes[j] = (uint8_t)(bits >> (8 * j));
        fl_buf_add(out, bytes, sizeof bytes);
    }
}

static bool get_doubles(double *x, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++, bytes += 8) {
        uint64_t bits = get_u32(bytes) | (uint64_t)get_u32(bytes + 4) << 32;
        memcpy(&x[i], &bits, sizeof bits);
        if (!isfinite(x[i]))
            return false;
    }
    return true;
}

fl_code nn_server_write(fl_buf *out, const nn_server *s, fl_err *err)
{
    uint8_t head[HEADER] = {0};
    memcpy(head, magic[s->second != NULL], sizeof magic[0]);
    memcpy(head + 8, s->plan_hash.bytes, 32);
    put_u32(head + 40, (uint32_t)s->n_weights);
    put_u32(head + 44, s->rounds_done);
    put_u32(head + 48, s->n_averaged);
    fl_buf_add(out, head, sizeof head);
    for (size_t i = 0; i < s->n_weights; i++) {
        uint8_t bytes[4];
        nn_weights_write(bytes, s->w + i, 1);
        fl_buf_add(out, bytes, sizeof bytes);
    }
    add_doubles(out, s->momentum, s->n_weights);
    if (s->second)
        add_doubles(out, s->second, s->n_weights);
    add_doubles(out, s->average, s->n_weights);
    return fl_buf_check(out, "server state", err);
}

static fl_code read_arrays(nn_server *s, const uint8_t *bytes, fl_err *err)
{
    size_t n = s->n_weights;
    fl_code rc = nn_weights_read(s->w, n, bytes, 4 * n, err);
    if (rc != FL_OK)
        return rc;
    double *const arrays[] = {s->momentum, s->second, s->average};
    bytes += 4 * n;
    for (size_t i = 0; i < 3; i++) {
        if (!arrays[i])
            continue;
        if (!get_doubles(arrays[i], n, bytes))
            return fl_fail(err, FL_EFORMAT, "server state: a value is not finite");
        bytes += 8 * n;
    }
    return FL_OK;
}

fl_code nn_server_read(nn_server *s, const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err)
{
    *s = (nn_server){0};
    if (n != nn_server_size(plan))
        return fl_fail(err, FL_EFORMAT, "server state: %zu bytes, expected %zu", n, nn_server_size(plan));
    uint32_t rounds_done = get_u32(bytes + 44), n_averaged = get_u32(bytes + 48);
    if (memcmp(bytes, magic[has_second(plan)], sizeof magic[0]) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: not one of this version");
    if (memcmp(bytes + 8, plan->hash.bytes, 32) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: belongs to another plan");
    if (get_u32(bytes + 40) != plan->n_weights || rounds_done > plan->rounds || n_averaged > rounds_done ||
        get_u32(bytes + 52) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: the counts in its header are impossible");
    nn_model *m = NULL;
    fl_code rc = prepare(s, &m, plan, err);
    nn_model_destroy(m);
    if (rc == FL_OK) {
        s->rounds_done = rounds_done;
        s->n_averaged = n_averaged;
        s->phase = rounds_done > 0 ? (uint32_t)(nn_plan_phase(plan, rounds_done) - plan->phases) : 0;
        rc = read_arrays(s, bytes + HEADER, err);
    }
    if (rc != FL_OK)
        nn_server_fini(s);
    return rc;
}
