/* Studies: added once with their first model, then paused, resumed or closed by a person. */
#include "base/clock.h"
#include "coordinator/fold.h"
#include "coordinator/query.h"

#include <stdlib.h>
#include <string.h>

static fl_code next_index(coord_store *s, const char *name, int64_t *index, fl_err *err)
{
    fl_query q;
    int64_t n = 0, same = 0;
    FL_TRY(fl_query_open(
        &q, s->db, "SELECT count(*), count(*) FILTER (WHERE name = ?), coalesce(max(idx) + 1, 0) FROM study", err));
    fl_bind_text(&q, 1, name);
    if (fl_query_row(&q)) {
        n = fl_column_int(&q, 0);
        same = fl_column_int(&q, 1);
        *index = fl_column_int(&q, 2);
    }
    FL_TRY(fl_query_close(&q, err));
    if (same)
        return fl_fail(err, FL_EREFUSED, "study %s: is here already: give the new one another name", name);
    if (n >= COORD_MAX_STUDIES)
        return fl_fail(err, FL_EREFUSED, "study %s: a coordinator keeps %d studies: make another one", name,
                       COORD_MAX_STUDIES);
    return FL_OK;
}

static fl_code insert_study(coord_store *s, const nn_plan *plan, const fl_buf *json, int64_t index,
                            const agg_result *first, fl_err *err)
{
    static const fl_hash none;
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db,
                         "INSERT INTO study(name, idx, plan, plan_hash, phase, paused, closed, round, model_hash,"
                         " announce_hash, added) VALUES(?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, plan->name);
    fl_bind_int(&q, 2, index);
    fl_bind_text(&q, 3, fl_buf_text(json));
    coord_bind_hash(&q, 4, &plan->hash);
    fl_bind_int(&q, 5, COORD_GATHERING);
    coord_bind_hash(&q, 6, &first->model);
    coord_bind_hash(&q, 7, &none);
    fl_bind_int(&q, 8, fl_clock_wall_s());
    FL_TRY(fl_query_run(&q, err));
    return coord_put_model(s, plan->name, 0, &first->model, &first->server, &first->released, err);
}

static fl_code append_study(coord_store *s, const nn_plan *plan, fl_err *err)
{
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "study %s: no memory left", plan->name);
    e->kind = DP_STUDY;
    strcpy(e->study, plan->name);
    fl_hex_encode(e->plan_hash, plan->hash.bytes, FL_HASH_SIZE);
    e->n_terms = plan->n_phases;
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        const nn_phase *p = &plan->phases[i];
        e->terms[i] = (dp_terms){.rounds = p->rounds,
                                 .steps = p->local_steps,
                                 .clip_units = p->clip_units,
                                 .coordinates = p->n_learned + p->probe,
                                 .noise_variance = p->noise_variance,
                                 .rate = p->rate};
    }
    fl_code rc = led_append(s->ledger, e, err);
    free(e);
    return rc;
}

static fl_code add_in_transaction(coord_store *s, const nn_plan *plan, const fl_buf *json, const agg_result *first,
                                  fl_err *err)
{
    int64_t index = 0;
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = next_index(s, plan->name, &index, err);
    if (rc == FL_OK)
        rc = insert_study(s, plan, json, index, first, err);
    if (rc == FL_OK)
        rc = append_study(s, plan, err);
    if (rc == FL_OK)
        rc = fl_db_commit(s->db, err);
    if (rc == FL_OK)
        return FL_OK;
    fl_db_rollback(s->db);
    fl_err again;
    if (led_reload(s->ledger, &again))
        return fl_fail(err, again.code, "%s", again.text);
    return rc;
}

fl_code coord_study_add(coord_store *s, const nn_plan *plan, fl_err *err)
{
    int64_t index;
    agg_result first;
    if (!plan->is_private)
        return fl_fail(err, FL_EREFUSED, "study %s: has no privacy: that is for the simulator alone", plan->name);
    FL_TRY(next_index(s, plan->name, &index, err)); /* before the work */
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = nn_plan_write(&json, plan, err);
    if (rc == FL_OK && (rc = fl_buf_check(&json, "plan", err)) == FL_OK &&
        (rc = agg_begin(s, plan, &first, err)) == FL_OK)
        rc = add_in_transaction(s, plan, &json, &first, err);
    fl_buf_fini(&json);
    return rc;
}

fl_code coord_study_plan(coord_store *s, fl_buf *json, const char *study, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "SELECT plan FROM study WHERE name = ?", err));
    fl_bind_text(&q, 1, study);
    const bool found = fl_query_row(&q);
    if (found)
        fl_buf_add_text(json, fl_column_text(&q, 0));
    FL_TRY(fl_query_close(&q, err));
    if (!found)
        return fl_fail(err, FL_ENOTFOUND, "%.63s: no such study: see cordon-coordinator study list", study);
    return fl_buf_check(json, "plan", err);
}

fl_code coord_study_say(coord_store *s, const char *study, coord_study_word word, fl_err *err)
{
    static const char *const sql[] = {
        [COORD_PAUSE] = "UPDATE study SET paused = 1 WHERE name = ? AND closed = 0",
        [COORD_RESUME] = "UPDATE study SET paused = 0 WHERE name = ? AND closed = 0",
        [COORD_CLOSE] = "UPDATE study SET closed = 1 WHERE name = ?",
    };
    fl_query q;
    bool is_closed = false;
    FL_TRY(fl_query_open(&q, s->db, "SELECT closed FROM study WHERE name = ?", err));
    fl_bind_text(&q, 1, study);
    const bool found = fl_query_row(&q);
    if (found)
        is_closed = fl_column_int(&q, 0) != 0;
    FL_TRY(fl_query_close(&q, err));
    if (!found)
        return fl_fail(err, FL_ENOTFOUND, "%.63s: no such study: see cordon-coordinator study list", study);
    if (is_closed && word != COORD_CLOSE)
        return fl_fail(err, FL_EREFUSED, "study %s: was closed, which is for ever", study);
    FL_TRY(fl_query_open(&q, s->db, sql[word], err));
    fl_bind_text(&q, 1, study);
    return fl_query_run(&q, err);
}
