#include "train/server.h"
#include "base/arena.h"
#include "crypto/hash.h"
#include "train/model.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'C', 'O', 'R', 'D', 'N', 'S', 'V', '1'};
#define HEADER 56

static fl_code allocate(nn_server *s, const nn_plan *plan, fl_err *err)
{
    size_t n = plan->n_weights;
    *s = (nn_server){.n_weights = n, .plan_hash = plan->hash};
    s->w = calloc(n, sizeof *s->w);
    s->momentum = calloc(n, sizeof *s->momentum);
    s->average = calloc(n, sizeof *s->average);
    if (s->w && s->momentum && s->average)
        return FL_OK;
    nn_server_fini(s);
    return fl_fail(err, FL_EENV, "server: no memory for %zu weights", n);
}

fl_code nn_server_init(nn_server *s, const nn_plan *plan, fl_err *err)
{
    nn_model *m;
    *s = (nn_server){0};
    fl_code rc = nn_model_create(&m, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err);
    if (rc != FL_OK)
        return rc;
    assert(nn_model_n_weights(m) == plan->n_weights);
    rc = allocate(s, plan, err);
    if (rc == FL_OK)
        nn_model_init_weights(m, s->w, plan->seed);
    nn_model_destroy(m);
    return rc;
}

void nn_server_fini(nn_server *s)
{
    if (!s)
        return;
    free(s->w);
    free(s->momentum);
    free(s->average);
    *s = (nn_server){0};
}

void nn_server_sum(int64_t *sum_u, const int64_t *u, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum_u[i] += u[i];
}

/* --- a round --------------------------------------------------------------------------------------------------- */

static double learning_rate(const nn_plan *plan, uint32_t round)
{
    double rate = plan->server_learning_rate * plan->local_learning_rate;
    if (plan->schedule == NN_SCHEDULE_COSINE)
        rate *= (1 + cos(M_PI * round / plan->rounds)) / 2;
    return rate;
}

/* Weight of the newest model in the running mean; 0: it does not enter. */
static double share_of_newest(const nn_server *s, const nn_plan *plan, uint32_t round)
{
    switch (plan->average) {
    case NN_AVERAGE_NONE:
        return 0;
    case NN_AVERAGE_EMA:
        return s->n_averaged == 0 ? 1 : 1 - plan->average_value;
    case NN_AVERAGE_TAIL:
        /* the last round always enters */
        if (round + 1 < plan->rounds && round < plan->rounds * (1 - plan->average_value))
            return 0;
        return 1.0 / (s->n_averaged + 1.0);
    }
    return 0;
}

fl_code nn_server_apply(nn_server *s, const nn_plan *plan, const int64_t *sum_u, uint64_t sum_declared, uint32_t round,
                        fl_err *err)
{
    assert(sum_declared >= 1 && s->n_weights == plan->n_weights && fl_hash_equal(&s->plan_hash, &plan->hash));
    if (round != s->rounds_done || round >= plan->rounds)
        return fl_fail(err, FL_EREFUSED, "server: round %u cannot be applied, the next of %u is %u", round,
                       plan->rounds, s->rounds_done);
    double unit = nn_plan_grid(plan) / (dp_rate_to_double(plan->rate) * (double)sum_declared);
    double rate = learning_rate(plan, round), share = share_of_newest(s, plan, round);
    double keep = plan->server == NN_SERVER_MOMENTUM ? plan->server_momentum : 0;
    double decay = rate * plan->server_weight_decay;
    for (size_t i = 0; i < s->n_weights; i++) {
        double m = keep * s->momentum[i] + unit * (double)sum_u[i];
        if (!isfinite((float)(s->w[i] - rate * m - decay * s->w[i])))
            return fl_fail(err, FL_EREFUSED,
                           "server: round %u makes a weight that is not finite: the learning rate is too large", round);
    }
    for (size_t i = 0; i < s->n_weights; i++) {
        s->momentum[i] = keep * s->momentum[i] + unit * (double)sum_u[i];
        s->w[i] = (float)(s->w[i] - rate * s->momentum[i] - decay * s->w[i]);
        if (share > 0)
            s->average[i] += share * (s->w[i] - s->average[i]);
    }
    s->n_averaged += share > 0;
    s->rounds_done++;
    return FL_OK;
}

const float *nn_server_model(const nn_server *s)
{
    return s->w;
}

void nn_server_released_model(const nn_server *s, float *w)
{
    for (size_t i = 0; i < s->n_weights; i++)
        w[i] = s->n_averaged > 0 ? (float)s->average[i] : s->w[i];
}

/* --- bytes ----------------------------------------------------------------------------------------------------- */

size_t nn_server_size(size_t n_weights)
{
    return HEADER + fl_size_mul(n_weights, 4 + 8 + 8);
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
    memcpy(head, magic, sizeof magic);
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
    add_doubles(out, s->average, s->n_weights);
    return fl_buf_check(out, "server state", err);
}

static fl_code read_arrays(nn_server *s, const uint8_t *bytes, fl_err *err)
{
    size_t n = s->n_weights;
    fl_code rc = nn_weights_read(s->w, n, bytes, 4 * n, err);
    if (rc != FL_OK)
        return rc;
    if (!get_doubles(s->momentum, n, bytes + 4 * n) || !get_doubles(s->average, n, bytes + 12 * n))
        return fl_fail(err, FL_EFORMAT, "server state: a value is not finite");
    return FL_OK;
}

fl_code nn_server_read(nn_server *s, const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err)
{
    *s = (nn_server){0};
    if (n != nn_server_size(plan->n_weights))
        return fl_fail(err, FL_EFORMAT, "server state: %zu bytes, expected %zu", n, nn_server_size(plan->n_weights));
    uint32_t rounds_done = get_u32(bytes + 44), n_averaged = get_u32(bytes + 48);
    if (memcmp(bytes, magic, sizeof magic) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: not one of this version");
    if (memcmp(bytes + 8, plan->hash.bytes, 32) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: belongs to another plan");
    if (get_u32(bytes + 40) != plan->n_weights || rounds_done > plan->rounds || n_averaged > rounds_done ||
        get_u32(bytes + 52) != 0)
        return fl_fail(err, FL_EFORMAT, "server state: the counts in its header are impossible");
    fl_code rc = allocate(s, plan, err);
    if (rc != FL_OK)
        return rc;
    s->rounds_done = rounds_done;
    s->n_averaged = n_averaged;
    rc = read_arrays(s, bytes + HEADER, err);
    if (rc != FL_OK)
        nn_server_fini(s);
    return rc;
}
