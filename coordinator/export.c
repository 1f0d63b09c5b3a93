/* A model leaves the consortium: the released (averaged) weights, with a card that says what they are. */
#include "train/export.h"
#include "coordinator/commands.h"
#include "coordinator/counts.h"
#include "coordinator/query.h"
#include "train/checkpoint.h"
#include "train/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct chosen {
    const nn_plan *plan;
    uint32_t round;
    fl_hash server, released;
    bool is_state; /* the coordinator's own; else: */
    nn_export_format format;
} chosen;

static fl_code choose(coord_store *s, chosen *c, fl_cli *cli, fl_err *err)
{
    fl_query q;
    int64_t round = -1;
    fl_err none = {0};
    FL_TRY(fl_cli_int(cli, "round", &round, 0, UINT32_MAX, err));
    if (round < 0) {
        FL_TRY(fl_query_open(&q, s->db, "SELECT max(round) FROM model WHERE study = ?", err));
        fl_bind_text(&q, 1, c->plan->name);
        round = fl_query_row(&q) ? fl_column_int(&q, 0) : 0;
        FL_TRY(fl_query_close(&q, err));
    }
    c->round = (uint32_t)round;
    if (!coord_model(s, c->plan->name, c->round, NULL, &c->server, &c->released, &none))
        return none.code
                   ? fl_fail(err, none.code, "%s", none.text)
                   : fl_fail(err, FL_ENOTFOUND, "study %s: has no model after round %u yet", c->plan->name, c->round);
    return FL_OK;
}

static fl_code read_weights(coord_store *s, float *w, const chosen *c, fl_err *err)
{
    fl_buf bytes;
    fl_buf_init(&bytes, 4 * (size_t)c->plan->n_weights);
    fl_code rc = fl_objects_get(s->objects, &bytes, &c->released, err);
    if (rc == FL_OK)
        rc = nn_weights_read(w, c->plan->n_weights, bytes.bytes, bytes.size, err);
    fl_buf_fini(&bytes);
    return rc;
}

/* ---- what the card says ---------------------------------------------------------------------------------------------- */

typedef struct facts {
    nn_card card;
    nn_card_hospital *hospitals;
    char *metrics; /* NULL: none */
} facts;

static void facts_fini(facts *f)
{
    free(f->hospitals);
    free(f->metrics);
}

/* A hospital of the rows, as far as they were read. */
typedef struct hospital_row {
    nn_card_hospital *out; /* NULL: none yet */
    coord_taken taken;
} hospital_row;

static void end_hospital(hospital_row *row, const chosen *c)
{
    if (row->out)
        row->out->epsilon = coord_epsilon(c->plan, &row->taken);
    *row = (hospital_row){.out = NULL};
}

static fl_code read_hospitals(coord_store *s, facts *f, const chosen *c, fl_err *err)
{
    fl_query q;
    hospital_row row = {.out = NULL};
    f->hospitals = calloc(COORD_MAX_SITES, sizeof *f->hospitals);
    if (!f->hospitals)
        return fl_fail(err, FL_EENV, "export: no memory left");
    FL_TRY(fl_query_open(
        &q, s->db,
        "SELECT r.site, r.round, c.site IS NOT NULL, r.patients FROM round_site r LEFT JOIN contribution c"
        " ON c.study = r.study AND c.round = r.round AND c.site = r.site"
        " WHERE r.study = ?1 AND r.round <= ?2 ORDER BY r.site, r.round",
        err));
    fl_bind_text(&q, 1, c->plan->name);
    fl_bind_int(&q, 2, c->round);
    while (fl_query_row(&q)) {
        if (!row.out || strcmp(row.out->name, fl_column_text(&q, 0)) != 0) {
            end_hospital(&row, c);
            if (f->card.n_hospitals == COORD_MAX_SITES)
                break;
            row.out = &f->hospitals[f->card.n_hospitals++];
            snprintf(row.out->name, sizeof row.out->name, "%s", fl_column_text(&q, 0));
        }
        const uint64_t patients = (uint64_t)fl_column_int(&q, 3);
        row.out->rounds++;
        row.out->updates += fl_column_int(&q, 2) != 0;
        row.out->declared = patients > row.out->declared ? patients : row.out->declared;
        coord_taken_add(&row.taken, c->plan, (uint32_t)fl_column_int(&q, 1));
    }
    end_hospital(&row, c);
    f->card.hospitals = f->hospitals;
    return fl_query_close(&q, err);
}

/* Nothing when the plan has no metrics or none are here. */
static fl_code read_metrics(coord_store *s, facts *f, const chosen *c, fl_err *err)
{
    size_t n = 0;
    if (c->plan->metrics_every == 0)
        return FL_OK;
    FILE *out = open_memstream(&f->metrics, &n);
    if (!out)
        return fl_fail(err, FL_EENV, "export: no memory left");
    fl_code rc = coord_counts_words(out, s, c->plan, c->round, err);
    if (fclose(out) != 0 && rc == FL_OK)
        rc = fl_fail(err, FL_EENV, "export: no memory left");
    f->card.metrics = n > 0 ? f->metrics : NULL;
    return rc;
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static fl_code write_state(coord_store *s, const chosen *c, const nn_card *card, const char *path, fl_err *err)
{
    fl_buf state, file;
    fl_buf_init(&state, NN_EXPORT_MAX);
    fl_buf_init(&file, NN_EXPORT_MAX);
    fl_code rc = fl_objects_get(s->objects, &state, &c->server, err);
    if (rc == FL_OK) {
        nn_checkpoint_wrap(&file, state.bytes, state.size);
        rc = fl_buf_check(&file, "checkpoint", err);
    }
    if (rc == FL_OK)
        rc = nn_export_save_bytes(path, "cordon", &file, card, err);
    fl_buf_fini(&state);
    fl_buf_fini(&file);
    return rc;
}

static fl_code write_model(coord_store *s, const chosen *c, const nn_card *card, const char *path, fl_err *err)
{
    float *w = malloc(c->plan->n_weights * sizeof *w);
    if (!w)
        return fl_fail(err, FL_EENV, "export: no memory left");
    fl_code rc = read_weights(s, w, c, err);
    if (rc == FL_OK)
        rc = nn_export_save(path, c->format, w, card, err);
    free(w);
    return rc;
}

static fl_code write_both(coord_session *s, const chosen *c, const char *path, fl_err *err)
{
    facts f = {.card = {.plan = c->plan, .round = c->round}};
    fl_code rc = read_hospitals(s->store, &f, c, err);
    if (rc == FL_OK)
        rc = read_metrics(s->store, &f, c, err);
    if (rc == FL_OK)
        rc = c->is_state ? write_state(s->store, c, &f.card, path, err) : write_model(s->store, c, &f.card, path, err);
    facts_fini(&f);
    if (rc == FL_OK)
        fprintf(s->cli->out, "%s: model of study %s after round %u; its card is %s.md\n", path, c->plan->name, c->round,
                path);
    return rc;
}

static fl_code choose_format(chosen *c, const char *name, fl_err *err)
{
    c->is_state = strcmp(name, "cordon") == 0;
    if (!c->is_state && nn_export_format_named(&c->format, name, NULL) != FL_OK)
        return fl_fail(err, FL_EFORMAT, "--format %.40s: expected safetensors, onnx or cordon", name);
    return FL_OK;
}

static fl_code work_export(coord_session *s, fl_err *err)
{
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "export: no memory left");
    chosen c = {.plan = plan};
    fl_code rc = choose_format(&c, fl_cli_value(s->cli, "format"), err);
    if (rc == FL_OK)
        rc = coord_session_plan(s, plan, fl_cli_value(s->cli, "study"), err);
    if (rc == FL_OK)
        rc = choose(s->store, &c, s->cli, err);
    if (rc == FL_OK)
        rc = write_both(s, &c, fl_cli_value(s->cli, "o"), err);
    free(plan);
    return rc;
}

int coord_cmd_export(fl_cli *cli)
{
    return coord_session_run(cli, work_export);
}
