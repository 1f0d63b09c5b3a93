/* status.h: from rows and state to what people want to know. */
#include "coordinator/commands.h"
#include "coordinator/query.h"
#include "coordinator/status.h"
#include "privacy/budget.h"
#include "train/counts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SILENT_MS 90000 /* three long polls */

void coord_taken_add(coord_taken *t, const nn_plan *plan, uint32_t round)
{
    if (round < 1 || round > plan->rounds)
        return;
    t->rounds[nn_plan_phase(plan, round) - plan->phases]++;
    t->with_counts += nn_counts_in(plan, round);
}

double coord_epsilon(const nn_plan *plan, const coord_taken *taken)
{
    dp_segment segments[NN_PLAN_MAX_PHASES + 1];
    size_t n = 0;
    for (uint32_t i = 0; i < plan->n_phases; i++) {
        const nn_phase *p = &plan->phases[i];
        if (taken->rounds[i] > 0) /* what is debited is rounded down */
            segments[n++] = (dp_segment){.q = strtod(p->sampling_rate, NULL),
                                         .sigma = (double)dp_multiplier_micro(p->noise_variance, p->clip_units) / 1e6,
                                         .steps = taken->rounds[i] * p->local_steps};
    }
    if (taken->with_counts > 0)
        segments[n++] = (dp_segment){.q = 1,
                                     .sigma = (double)dp_multiplier_micro(plan->metrics_noise_variance, 1) / 1e6,
                                     .steps = taken->with_counts * nn_counts_partitions(plan)};
    return n > 0 ? dp_epsilon_rdp(segments, n, strtod(plan->delta, NULL), NULL) : 0;
}

double coord_epsilon_of_plan(const nn_plan *plan)
{
    coord_taken all = {.with_counts = nn_counts_rounds(plan, 0)};
    for (uint32_t i = 0; i < plan->n_phases; i++)
        all.rounds[i] = plan->phases[i].rounds;
    return coord_epsilon(plan, &all);
}

/* Rounds whose update of this site is here. */
static fl_code count_received(coord_site_status *out, coord_taken *taken, coord_store *s, const nn_plan *plan,
                              fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "SELECT round FROM contribution WHERE study = ? AND site = ?", err));
    fl_bind_text(&q, 1, plan->name);
    fl_bind_text(&q, 2, out->site->name);
    *taken = (coord_taken){.with_counts = 0};
    while (fl_query_row(&q)) {
        out->contributions++;
        coord_taken_add(taken, plan, (uint32_t)fl_column_int(&q, 0));
    }
    return fl_query_close(&q, err);
}

static fl_code count(coord_store *s, const char *sql, const char *study, const char *site, uint64_t *n, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, sql, err));
    fl_bind_text(&q, 1, study);
    fl_bind_text(&q, 2, site);
    *n = fl_query_row(&q) ? (uint64_t)fl_column_int(&q, 0) : 0;
    return fl_query_close(&q, err);
}

static void describe_late(coord_site_status *out, int64_t now_ms)
{
    const coord_site *site = out->site;
    if (now_ms < 0)
        snprintf(out->state, sizeof out->state, "its update is not here");
    else if (site->seen_ms == 0)
        snprintf(out->state, sizeof out->state, "late: silent since the coordinator started");
    else if (now_ms - site->seen_ms > SILENT_MS)
        snprintf(out->state, sizeof out->state, "late: silent for %" PRId64 " s", (now_ms - site->seen_ms) / 1000);
    else if (site->head_size > out->member->roster_head_size)
        snprintf(out->state, sizeof out->state, "trained, its update is on the way or waits for its slot");
    else if (site->parked)
        snprintf(out->state, sizeof out->state, "late: asks, but does not take the round (see its own status)");
    else
        snprintf(out->state, sizeof out->state, "fetching or training");
}

static void describe(coord_site_status *out, const coord_study *st, int64_t now_ms)
{
    const coord_member *m = out->member;
    if (out->site->revoked)
        snprintf(out->state, sizeof out->state, "revoked");
    else if (m->left)
        snprintf(out->state, sizeof out->state, "left the study");
    else if (!m->joined)
        snprintf(out->state, sizeof out->state, "has not approved the plan");
    else if (st->phase == COORD_DONE || st->closed)
        snprintf(out->state, sizeof out->state, "finished");
    else if (st->phase == COORD_GATHERING)
        snprintf(out->state, sizeof out->state, "waits for the round to open");
    else if (!m->in_roster)
        snprintf(out->state, sizeof out->state, "joined late: takes part from the next round on");
    else if (m->contributed)
        snprintf(out->state, sizeof out->state, "its update is in");
    else
        describe_late(out, now_ms);
}

static fl_code gather_sites(coord_study_status *out, coord_store *s, const coord_state *state, int64_t now_ms,
                            fl_err *err)
{
    const coord_study *st = out->study;
    out->sites = calloc(state->n_sites ? state->n_sites : 1, sizeof *out->sites);
    if (!out->sites)
        return fl_fail(err, FL_EENV, "status: no memory left");
    for (uint32_t i = 0; i < state->n_sites; i++) {
        if (st->listed_only && !st->members[i].listed)
            continue;
        coord_site_status *site = &out->sites[out->n_sites++];
        site->site = &state->sites[i];
        site->member = &st->members[i];
        coord_taken taken;
        FL_TRY(count_received(site, &taken, s, out->plan, err));
        FL_TRY(count(s, "SELECT count(*) FROM round_site WHERE study = ? AND site = ?", st->name, site->site->name,
                     &site->rounds, err));
        site->epsilon = coord_epsilon(out->plan, &taken);
        describe(site, st, now_ms);
        if (st->phase == COORD_OPEN && site->member->in_roster) {
            out->n_roster++;
            out->n_in += site->member->contributed;
        }
    }
    return FL_OK;
}

static void add_name(char *list, size_t size, const char *name)
{
    const size_t n = strlen(list);
    if (n + strlen(name) + 2 < size)
        snprintf(list + n, size - n, "%s%s", n ? "," : "", name);
}

static fl_code gather_rounds(coord_study_status *out, coord_store *s, fl_err *err)
{
    fl_query q;
    const coord_study *st = out->study;
    out->rounds = calloc(st->round ? st->round : 1, sizeof *out->rounds);
    if (!out->rounds)
        return fl_fail(err, FL_EENV, "status: no memory left");
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT r.round, r.site, c.site IS NOT NULL, m.model_hash FROM round_site r"
                         " LEFT JOIN contribution c ON c.study = r.study AND c.round = r.round AND c.site = r.site"
                         " LEFT JOIN model m ON m.study = r.study AND m.round = r.round"
                         " WHERE r.study = ? ORDER BY r.round, r.site",
                         err));
    fl_bind_text(&q, 1, st->name);
    while (fl_query_row(&q)) {
        const uint32_t round = (uint32_t)fl_column_int(&q, 0);
        if (round < 1 || round > st->round)
            continue;
        coord_round_status *r = &out->rounds[round - 1];
        const bool is_in = fl_column_int(&q, 2) != 0;
        size_t n_hash;
        r->round = round;
        r->n_roster++;
        r->n_in += is_in;
        add_name(is_in ? r->in : r->missing, sizeof r->in, fl_column_text(&q, 1));
        (void)fl_column_blob(&q, 3, &n_hash);
        r->is_aggregated = n_hash == FL_HASH_SIZE;
        coord_column_hash(&r->model, &q, 3);
    }
    out->n_rounds = st->round;
    return fl_query_close(&q, err);
}

fl_code coord_study_status_get(coord_study_status *out, coord_store *s, const coord_state *state, uint32_t study,
                               const nn_plan *plan, int64_t now_ms, fl_err *err)
{
    static const char *const phases[] = {"gathering", "open", "folding", "done"};
    const coord_study *st = &state->studies[study];
    memset(out, 0, sizeof *out);
    out->study = st;
    out->plan = plan;
    out->phase = st->closed ? "closed" : st->paused ? "paused" : phases[st->phase];
    out->left_s = -1;
    if (now_ms >= 0 && st->phase == COORD_OPEN)
        out->left_s = st->deadline_ms > now_ms ? (st->deadline_ms - now_ms) / 1000 : 0;
    fl_code rc = gather_sites(out, s, state, now_ms, err);
    if (rc == FL_OK)
        rc = gather_rounds(out, s, err);
    if (rc)
        coord_study_status_fini(out);
    return rc;
}

void coord_study_status_fini(coord_study_status *st)
{
    free(st->sites);
    free(st->rounds);
    st->sites = NULL;
    st->rounds = NULL;
}
