/* The machine's state as rows: loading it, and what one step writes. */
#include "base/clock.h"
#include "coordinator/query.h"
#include "coordinator/store.h"
#include "train/counts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- loading ---------------------------------------------------------------------------------------------------- */

static fl_code load_sites(coord_state *state, coord_store *s, fl_err *err)
{
    fl_query q;
    size_t n;
    FL_TRY(fl_query_open(&q, s->db, "SELECT name, public_key, revoked, head_size, head_root FROM site ORDER BY name",
                         err));
    while (state->n_sites < COORD_MAX_SITES && fl_query_row(&q)) {
        coord_site *site = &state->sites[state->n_sites++];
        snprintf(site->name, sizeof site->name, "%s", fl_column_text(&q, 0));
        const void *key = fl_column_blob(&q, 1, &n);
        if (n == sizeof site->public_key)
            memcpy(site->public_key, key, n);
        site->revoked = fl_column_int(&q, 2) != 0;
        site->head_size = (uint64_t)fl_column_int(&q, 3);
        coord_column_hash(&site->head_root, &q, 4);
    }
    return fl_query_close(&q, err);
}

static fl_code study_from_plan(coord_state *state, coord_study *st, nn_plan *plan, const char *json, fl_err *err)
{
    if (nn_plan_parse(plan, json, strlen(json), err))
        return fl_fail_in(err, "study %s", st->name);
    st->plan_bytes = (uint32_t)strlen(json);
    st->plan_hash = plan->hash;
    st->rounds = plan->rounds;
    st->quorum = plan->quorum;
    st->deadline_s = plan->deadline_s;
    st->model_bytes = 4 * (uint64_t)plan->n_weights;
    _Static_assert(DP_TERMS_MAX >= NN_PLAN_MAX_PHASES, "room");
    st->n_terms = plan->n_phases;
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        const nn_phase *p = &plan->phases[i];
        const dp_update_shape shape = {p->n_learned + p->probe, p->probe, p->update_bits, 0};
        st->terms[i] = (coord_terms){p->first + p->rounds - 1, dp_update_size(&shape)};
    }
    st->metrics_every = plan->metrics_every;
    st->metrics_cells = nn_counts_cells(plan);
    st->listed_only = plan->n_sites > 0;
    st->n_listed = plan->n_sites;
    for (uint32_t i = 0; i < plan->n_sites; i++) {
        const uint32_t site = coord_find_site(state, plan->sites[i]);
        if (site != UINT32_MAX)
            st->members[site].listed = true;
    }
    return FL_OK;
}

static fl_code load_studies(coord_state *state, coord_store *s, nn_plan *plan, fl_err *err)
{
    fl_query q;
    fl_code rc = FL_OK;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT name, idx, plan, phase, paused, closed, round, model_hash, announce_hash FROM study"
                         " ORDER BY idx",
                         err));
    while (rc == FL_OK && state->n_studies < COORD_MAX_STUDIES && fl_query_row(&q)) {
        coord_study *st = &state->studies[state->n_studies++];
        snprintf(st->name, sizeof st->name, "%s", fl_column_text(&q, 0));
        st->index = (uint32_t)fl_column_int(&q, 1);
        st->phase = (coord_phase)fl_column_int(&q, 3);
        st->paused = fl_column_int(&q, 4) != 0;
        st->closed = fl_column_int(&q, 5) != 0;
        st->round = (uint32_t)fl_column_int(&q, 6);
        coord_column_hash(&st->model_hash, &q, 7);
        coord_column_hash(&st->announce_hash, &q, 8);
        rc = study_from_plan(state, st, plan, fl_column_text(&q, 2), err);
    }
    fl_code closed = fl_query_close(&q, rc ? NULL : err);
    return rc ? rc : closed;
}

/* Rows of one study, with the site's name in column 0. */
typedef void (*take_row)(coord_member *m, fl_query *q);

static fl_code load_members(coord_state *state, coord_store *s, coord_study *st, const char *sql, bool of_round,
                            take_row take, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, sql, err));
    fl_bind_text(&q, 1, st->name);
    if (of_round)
        fl_bind_int(&q, 2, st->round);
    while (fl_query_row(&q)) {
        const uint32_t site = coord_find_site(state, fl_column_text(&q, 0));
        if (site != UINT32_MAX)
            take(&st->members[site], &q);
    }
    return fl_query_close(&q, err);
}

static void take_member(coord_member *m, fl_query *q)
{
    m->joined = fl_column_int(q, 1) != 0;
    m->left = fl_column_int(q, 2) != 0;
    m->declared_patients = (uint64_t)fl_column_int(q, 3);
}

static void take_roster(coord_member *m, fl_query *q)
{
    m->in_roster = true;
    m->roster_patients = (uint64_t)fl_column_int(q, 1);
    m->roster_head_size = (uint64_t)fl_column_int(q, 2);
    coord_column_hash(&m->roster_head_root, q, 3);
}

static void take_contribution(coord_member *m, fl_query *q)
{
    m->contributed = true;
    snprintf(m->debit, sizeof m->debit, "%s", fl_column_text(q, 1));
    coord_column_hash(&m->update_hash, q, 2);
}

fl_code coord_state_load(coord_state *state, coord_store *s, fl_err *err)
{
    int64_t boot;
    memset(state, 0, sizeof *state);
    memcpy(state->name, s->name, sizeof state->name);
    FL_TRY(coord_meta_get(s, "boot", &boot, err));
    state->boot = (uint64_t)boot;
    state->max_declared = (uint64_t)s->max_declared;
    FL_TRY(load_sites(state, s, err));
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "coordinator: no memory left");
    fl_code rc = load_studies(state, s, plan, err);
    free(plan);
    for (uint32_t i = 0; rc == FL_OK && i < state->n_studies; i++) {
        coord_study *st = &state->studies[i];
        if ((rc = load_members(state, s, st, "SELECT site, joined, gone, declared FROM member WHERE study = ?", false,
                               take_member, err)) ||
            (rc = load_members(
                 state, s, st,
                 "SELECT site, patients, head_size, head_root FROM round_site WHERE study = ? AND round = ?", true,
                 take_roster, err)))
            break;
        rc = load_members(state, s, st,
                          "SELECT site, debit, update_hash FROM contribution WHERE study = ? AND round = ?", true,
                          take_contribution, err);
    }
    return rc;
}

/* ---- what a step writes ----------------------------------------------------------------------------------------- */

fl_code coord_put_member(coord_store *s, const coord_state *state, uint32_t study, uint32_t site, fl_err *err)
{
    const coord_member *m = &state->studies[study].members[site];
    fl_query q;
    FL_TRY(fl_query_open(
        &q, s->db, "INSERT OR REPLACE INTO member(study, site, joined, gone, declared) VALUES(?, ?, ?, ?, ?)", err));
    fl_bind_text(&q, 1, state->studies[study].name);
    fl_bind_text(&q, 2, state->sites[site].name);
    fl_bind_int(&q, 3, m->joined);
    fl_bind_int(&q, 4, m->left);
    fl_bind_int(&q, 5, (int64_t)m->declared_patients);
    return fl_query_run(&q, err);
}

static fl_code put_roster(coord_store *s, const coord_state *state, const coord_study *st, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db,
                         "INSERT OR REPLACE INTO round(study, round, model_hash, announce_hash, opened)"
                         " VALUES(?, ?, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, st->name);
    fl_bind_int(&q, 2, st->round);
    coord_bind_hash(&q, 3, &st->model_hash);
    coord_bind_hash(&q, 4, &st->announce_hash);
    fl_bind_int(&q, 5, fl_clock_wall_s());
    FL_TRY(fl_query_run(&q, err));
    /* a round that opens again has the rows of its first roster */
    FL_TRY(fl_query_open(&q, s->db, "DELETE FROM round_site WHERE study = ? AND round = ?", err));
    fl_bind_text(&q, 1, st->name);
    fl_bind_int(&q, 2, st->round);
    FL_TRY(fl_query_run(&q, err));
    for (uint32_t i = 0; i < state->n_sites; i++) {
        const coord_member *m = &st->members[i];
        if (!m->in_roster)
            continue;
        FL_TRY(fl_query_open(&q, s->db,
                             "INSERT INTO round_site(study, round, site, patients, head_size, head_root)"
                             " VALUES(?, ?, ?, ?, ?, ?)",
                             err));
        fl_bind_text(&q, 1, st->name);
        fl_bind_int(&q, 2, st->round);
        fl_bind_text(&q, 3, state->sites[i].name);
        fl_bind_int(&q, 4, (int64_t)m->roster_patients);
        fl_bind_int(&q, 5, (int64_t)m->roster_head_size);
        coord_bind_hash(&q, 6, &m->roster_head_root);
        FL_TRY(fl_query_run(&q, err));
    }
    return FL_OK;
}

fl_code coord_put_round(coord_store *s, const coord_state *state, uint32_t study, fl_err *err)
{
    const coord_study *st = &state->studies[study];
    fl_query q;
    FL_TRY(fl_query_open(
        &q, s->db, "UPDATE study SET phase = ?, round = ?, model_hash = ?, announce_hash = ? WHERE name = ?", err));
    fl_bind_int(&q, 1, st->phase);
    fl_bind_int(&q, 2, st->round);
    coord_bind_hash(&q, 3, &st->model_hash);
    coord_bind_hash(&q, 4, &st->announce_hash);
    fl_bind_text(&q, 5, st->name);
    FL_TRY(fl_query_run(&q, err));
    assert(fl_db_changes(s->db) == 1);
    return st->phase == COORD_OPEN ? put_roster(s, state, st, err) : FL_OK;
}

fl_code coord_put_contribution(coord_store *s, const coord_state *state, uint32_t study, uint32_t site, fl_err *err)
{
    const coord_study *st = &state->studies[study];
    const coord_member *m = &st->members[site];
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db,
                         "INSERT INTO contribution(study, round, site, debit, update_hash, received)"
                         " VALUES(?, ?, ?, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, st->name);
    fl_bind_int(&q, 2, st->round);
    fl_bind_text(&q, 3, state->sites[site].name);
    fl_bind_text(&q, 4, m->debit);
    coord_bind_hash(&q, 5, &m->update_hash);
    fl_bind_int(&q, 6, fl_clock_wall_s());
    return fl_query_run(&q, err);
}

fl_code coord_put_model(coord_store *s, const char *study, uint32_t round, const fl_hash *model_hash,
                        const fl_hash *server_hash, const fl_hash *released_hash, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db,
                         "INSERT INTO model(study, round, model_hash, server_hash, released_hash, made)"
                         " VALUES(?, ?, ?, ?, ?, ?)",
                         err));
    fl_bind_text(&q, 1, study);
    fl_bind_int(&q, 2, round);
    coord_bind_hash(&q, 3, model_hash);
    coord_bind_hash(&q, 4, server_hash);
    coord_bind_hash(&q, 5, released_hash);
    fl_bind_int(&q, 6, fl_clock_wall_s());
    return fl_query_run(&q, err);
}

fl_code coord_put_head(coord_store *s, const coord_state *state, uint32_t site, const char *note, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "UPDATE site SET head_size = ?, head_root = ?, note = ? WHERE name = ?", err));
    fl_bind_int(&q, 1, (int64_t)state->sites[site].head_size);
    coord_bind_hash(&q, 2, &state->sites[site].head_root);
    fl_bind_text(&q, 3, note);
    fl_bind_text(&q, 4, state->sites[site].name);
    return fl_query_run(&q, err);
}

fl_code coord_put_key(coord_store *s, const coord_state *state, uint32_t site, fl_err *err)
{
    const coord_site *row = &state->sites[site];
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    fl_query q;
    dp_origin(origin, row->name);
    dp_vkey_text(vkey, origin, row->public_key);
    FL_TRY(fl_query_open(&q, s->db, "UPDATE site SET public_key = ?, vkey = ? WHERE name = ?", err));
    fl_bind_blob(&q, 1, row->public_key, sizeof row->public_key);
    fl_bind_text(&q, 2, vkey);
    fl_bind_text(&q, 3, row->name);
    return fl_query_run(&q, err);
}

fl_code coord_put_seen(coord_store *s, const char *site, uint64_t sequence, int64_t wall_s, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "UPDATE site SET sequence = ?, seen = ? WHERE name = ?", err));
    fl_bind_int(&q, 1, (int64_t)sequence);
    fl_bind_int(&q, 2, wall_s);
    fl_bind_text(&q, 3, site);
    return fl_query_run(&q, err);
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

bool coord_contribution(coord_store *s, const char *study, uint32_t round, const char *site, fl_hash *update_hash,
                        char debit[WIRE_DEBIT_SIZE], fl_err *err)
{
    fl_query q;
    if (fl_query_open(&q, s->db,
                      "SELECT debit, update_hash FROM contribution WHERE study = ? AND round = ? AND site = ?", err))
        return false;
    fl_bind_text(&q, 1, study);
    fl_bind_int(&q, 2, round);
    fl_bind_text(&q, 3, site);
    const bool found = fl_query_row(&q);
    if (found) {
        snprintf(debit, WIRE_DEBIT_SIZE, "%s", fl_column_text(&q, 0));
        coord_column_hash(update_hash, &q, 1);
    }
    return fl_query_close(&q, err) == FL_OK && found;
}

bool coord_model(coord_store *s, const char *study, uint32_t round, fl_hash *model_hash, fl_hash *server_hash,
                 fl_hash *released_hash, fl_err *err)
{
    fl_query q;
    if (fl_query_open(&q, s->db,
                      "SELECT model_hash, server_hash, released_hash FROM model WHERE study = ? AND round = ?", err))
        return false;
    fl_bind_text(&q, 1, study);
    fl_bind_int(&q, 2, round);
    fl_hash *const out[] = {model_hash, server_hash, released_hash};
    const bool found = fl_query_row(&q);
    for (int i = 0; found && i < 3; i++)
        if (out[i])
            coord_column_hash(out[i], &q, i);
    return fl_query_close(&q, err) == FL_OK && found;
}
