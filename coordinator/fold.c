#include "coordinator/fold.h"

#include "base/encode.h"
#include "coordinator/query.h"
#include "train/model.h"
#include "train/pretrained.h"
#include "train/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct update {
    char site[WIRE_NAME_MAX];
    fl_hash hash;
    uint64_t patients;
} update;

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "aggregation: no memory left");
}

/* ---- the server's state as three byte strings ------------------------------------------------------------------- */

typedef struct images {
    fl_buf model, server, released;
} images;

static void images_fini(images *im)
{
    fl_buf_fini(&im->model);
    fl_buf_fini(&im->server);
    fl_buf_fini(&im->released);
}

static fl_code add_weights(fl_buf *out, const float *w, size_t n, fl_err *err)
{
    uint8_t *bytes = malloc(4 * n);
    if (!bytes)
        return no_memory(err);
    nn_weights_write(bytes, w, n);
    fl_buf_add(out, bytes, 4 * n);
    free(bytes);
    return fl_buf_check(out, "model", err);
}

static fl_code take_images(images *im, const nn_server *server, const nn_plan *plan, fl_err *err)
{
    const size_t n = server->n_weights;
    fl_buf_init(&im->model, 4 * n);
    fl_buf_init(&im->released, 4 * n);
    fl_buf_init(&im->server, nn_server_size(plan));
    float *w = malloc(n * sizeof *w);
    if (!w)
        return no_memory(err);
    nn_server_released_model(server, w);
    fl_code rc = add_weights(&im->released, w, n, err);
    free(w);
    if (rc == FL_OK)
        rc = add_weights(&im->model, nn_server_model(server), n, err);
    if (rc == FL_OK && (rc = nn_server_write(&im->server, server, err)) == FL_OK)
        rc = fl_buf_check(&im->server, "server state", err);
    return rc;
}

static fl_code put_images(coord_store *s, agg_result *out, const nn_server *server, const nn_plan *plan, fl_err *err)
{
    images im = {0};
    fl_code rc = take_images(&im, server, plan, err);
    if (rc == FL_OK)
        rc = fl_objects_put(s->objects, &out->model, im.model.bytes, im.model.size, err);
    if (rc == FL_OK)
        rc = fl_objects_put(s->objects, &out->server, im.server.bytes, im.server.size, err);
    if (rc == FL_OK)
        rc = fl_objects_put(s->objects, &out->released, im.released.bytes, im.released.size, err);
    images_fini(&im);
    return rc;
}

static fl_code hash_images(agg_result *out, const nn_server *server, const nn_plan *plan, fl_err *err)
{
    images im = {0};
    fl_code rc = take_images(&im, server, plan, err);
    if (rc == FL_OK) {
        out->model = fl_sha256(im.model.bytes, im.model.size);
        out->server = fl_sha256(im.server.bytes, im.server.size);
        out->released = fl_sha256(im.released.bytes, im.released.size);
    }
    images_fini(&im);
    return rc;
}

/* ---- the sum ---------------------------------------------------------------------------------------------------- */

static fl_code list_updates(coord_store *s, const char *study, uint32_t round, update *list, uint32_t *n, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT c.site, c.update_hash, r.patients FROM contribution c JOIN round_site r"
                         " ON r.study = c.study AND r.round = c.round AND r.site = c.site"
                         " WHERE c.study = ? AND c.round = ? ORDER BY c.site",
                         err));
    fl_bind_text(&q, 1, study);
    fl_bind_int(&q, 2, round);
    *n = 0;
    while (*n < COORD_MAX_SITES && fl_query_row(&q)) {
        update *u = &list[(*n)++];
        snprintf(u->site, sizeof u->site, "%s", fl_column_text(&q, 0));
        coord_column_hash(&u->hash, &q, 1);
        u->patients = (uint64_t)fl_column_int(&q, 2);
    }
    return fl_query_close(&q, err);
}

/* The whole object is read, hashed and measured before one value of it is used. */
static fl_code read_update(coord_store *s, int64_t *values, fl_buf *bytes, const dp_update_shape *shape,
                           const update *u, fl_err *err)
{
    fl_buf_clear(bytes);
    fl_code rc = fl_objects_get(s->objects, bytes, &u->hash, err);
    if (rc == FL_OK)
        rc = dp_update_read(values, NULL, shape, bytes->bytes, bytes->size, err);
    if (rc == FL_OK)
        return FL_OK;
    fl_fail_in(err, "update of %s", u->site);
    if (err) /* it was whole when it was acknowledged */
        err->code = FL_EENV;
    return FL_EENV;
}

static fl_code sum_updates(coord_store *s, int64_t *sum, uint64_t *declared, const nn_plan *plan, uint32_t round,
                           const update *list, uint32_t n, fl_err *err)
{
    /* |u| <= 2^(bits-1), so n of them stay below n * 2^(bits-1) */
    const dp_update_shape shape = nn_plan_update(plan, round);
    if (shape.bits > 62 || (int64_t)n > INT64_MAX >> (shape.bits - 1))
        return fl_fail(err, FL_EREFUSED, "%u updates of %u bits do not fit into 64-bit sums", n, shape.bits);
    fl_buf bytes;
    fl_buf_init(&bytes, dp_update_size(&shape));
    int64_t *values = malloc(shape.coordinates * sizeof *values); /* weights, then the probe, which nobody sums */
    fl_code rc = values ? FL_OK : no_memory(err);
    for (uint32_t i = 0; rc == FL_OK && i < n; i++)
        if ((rc = read_update(s, values, &bytes, &shape, &list[i], err)) == FL_OK) {
            nn_server_sum(sum, values, shape.coordinates - shape.probe);
            *declared += list[i].patients;
        }
    free(values);
    fl_buf_fini(&bytes);
    return rc;
}

/* One round on top of *server. */
static fl_code fold_round(coord_store *s, nn_server *server, agg_result *out, const nn_plan *plan, uint32_t round,
                          fl_err *err)
{
    update *list = calloc(COORD_MAX_SITES, sizeof *list);
    int64_t *sum = calloc(plan->n_weights, sizeof *sum);
    fl_code rc = list && sum ? list_updates(s, plan->name, round, list, &out->n_contributions, err) : no_memory(err);
    if (rc == FL_OK && out->n_contributions == 0)
        rc = fl_fail(err, FL_EENV, "no contribution is stored");
    if (rc == FL_OK)
        rc = sum_updates(s, sum, &out->sum_declared, plan, round, list, out->n_contributions, err);
    if (rc == FL_OK)
        rc = nn_server_apply(server, plan, sum, out->sum_declared, round - 1, err);
    free(list);
    free(sum);
    return rc ? fl_fail_in(err, "study %s: round %u", plan->name, round) : FL_OK;
}

/* ---- what the coordinator calls --------------------------------------------------------------------------------- */

/* The state before round 1. A pretrained start is an object here, named by its hash. */
static fl_code first_state(nn_server *server, coord_store *s, const nn_plan *plan, fl_err *err)
{
    fl_hash hash;
    fl_buf bytes;
    *server = (nn_server){0};
    if (!plan->initial[0])
        return nn_server_init(server, plan, NULL, 0, NULL, err);
    fl_buf_init(&bytes, NN_PRETRAINED_MAX_BYTES);
    fl_code rc = fl_hex_decode(hash.bytes, FL_HASH_SIZE, plan->initial)
                     ? fl_objects_get(s->objects, &bytes, &hash, err)
                     : fl_fail(err, FL_EFORMAT, "initial: not a hash");
    if (rc == FL_OK)
        rc = nn_server_init(server, plan, bytes.bytes, bytes.size, NULL, err);
    fl_buf_fini(&bytes);
    return rc == FL_OK ? FL_OK : fl_fail_in(err, "study %s: pretrained weights", plan->name);
}

fl_code agg_begin(coord_store *s, const nn_plan *plan, agg_result *out, fl_err *err)
{
    nn_server server = {0};
    memset(out, 0, sizeof *out);
    fl_code rc = first_state(&server, s, plan, err);
    if (rc == FL_OK)
        rc = put_images(s, out, &server, plan, err);
    nn_server_fini(&server);
    return rc;
}

static fl_code read_server(coord_store *s, nn_server *server, const nn_plan *plan, uint32_t round, fl_err *err)
{
    fl_hash hash;
    fl_err none = {0};
    if (!coord_model(s, plan->name, round, NULL, &hash, NULL, &none))
        return none.code ? fl_fail(err, none.code, "%s", none.text)
                         : fl_fail(err, FL_EENV, "study %s: round %u has no model", plan->name, round);
    fl_buf bytes;
    fl_buf_init(&bytes, nn_server_size(plan));
    fl_code rc = fl_objects_get(s->objects, &bytes, &hash, err);
    if (rc == FL_OK)
        rc = nn_server_read(server, plan, bytes.bytes, bytes.size, err);
    fl_buf_fini(&bytes);
    if (rc == FL_OK)
        return FL_OK;
    fl_fail_in(err, "study %s: server state after round %u", plan->name, round);
    if (err)
        err->code = FL_EENV;
    return FL_EENV;
}

fl_code agg_fedavg(coord_store *s, const nn_plan *plan, uint32_t round, agg_result *out, fl_err *err)
{
    nn_server server = {0};
    assert(round >= 1);
    memset(out, 0, sizeof *out);
    fl_code rc = read_server(s, &server, plan, round - 1, err);
    if (rc == FL_OK)
        rc = fold_round(s, &server, out, plan, round, err);
    if (rc == FL_OK)
        rc = put_images(s, out, &server, plan, err);
    nn_server_fini(&server);
    return rc;
}

static fl_code compare(coord_store *s, const nn_plan *plan, uint32_t round, const agg_result *now, bool *is_same,
                       bool *is_there, fl_err *err)
{
    fl_hash model, server, released;
    fl_err e = {0};
    *is_there = coord_model(s, plan->name, round, &model, &server, &released, &e);
    if (e.code)
        return fl_fail(err, e.code, "%s", e.text);
    *is_same = *is_there && fl_hash_equal(&model, &now->model) && fl_hash_equal(&server, &now->server) &&
               fl_hash_equal(&released, &now->released);
    return FL_OK;
}

static fl_code count_models(coord_store *s, const nn_plan *plan, uint32_t *rounds, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "SELECT max(round) FROM model WHERE study = ?", err));
    fl_bind_text(&q, 1, plan->name);
    *rounds = fl_query_row(&q) ? (uint32_t)fl_column_int(&q, 0) : 0;
    return fl_query_close(&q, err);
}

fl_code agg_refold(coord_store *s, const nn_plan *plan, agg_each each, void *ctx, uint32_t *n_rounds, fl_err *err)
{
    nn_server server = {0};
    uint32_t last = 0, first_wrong = 0, n_wrong = 0;
    *n_rounds = 0;
    FL_TRY(count_models(s, plan, &last, err));
    fl_code rc = first_state(&server, s, plan, err);
    for (uint32_t round = 0; rc == FL_OK && round <= last; round++) {
        agg_result now = {0};
        bool is_same = false, is_there = false;
        if (round > 0)
            rc = fold_round(s, &server, &now, plan, round, err);
        if (rc == FL_OK)
            rc = hash_images(&now, &server, plan, err);
        if (rc == FL_OK)
            rc = compare(s, plan, round, &now, &is_same, &is_there, err);
        if (rc)
            break;
        if (!is_same && n_wrong++ == 0)
            first_wrong = round;
        if (each)
            each(ctx, round, now.n_contributions, is_same);
        *n_rounds = round;
    }
    nn_server_fini(&server);
    if (rc == FL_OK && n_wrong)
        return fl_fail(err, FL_EREFUSED, "study %s: round %u is not what its contributions give (%u rounds differ)",
                       plan->name, first_wrong, n_wrong);
    return rc;
}
