/* A model leaves the consortium: the released (averaged) weights, with a card that says what they are. */
#include "coordinator/commands.h"
#include "coordinator/query.h"
#include "train/model.h"
#include "train/safetensors.h"
#include "train/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct chosen {
    const nn_plan *plan;
    uint32_t round;
    fl_hash server, released;
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

static fl_code make_safetensors(coord_store *s, fl_buf *out, const chosen *c, fl_err *err)
{
    const nn_plan *plan = c->plan;
    const size_t n = plan->n_weights;
    nn_model *model = NULL;
    fl_buf bytes;
    fl_buf_init(&bytes, 4 * n);
    float *w = malloc(n * sizeof *w);
    fl_code rc = w ? FL_OK : fl_fail(err, FL_EENV, "export: no memory left");
    if (rc == FL_OK)
        rc = nn_model_create(&model, plan->spec, plan->channels, plan->height, plan->width, plan->n_classes, err);
    if (rc == FL_OK && (rc = fl_objects_get(s->objects, &bytes, &c->released, err)) == FL_OK &&
        (rc = nn_weights_read(w, n, bytes.bytes, bytes.size, err)) == FL_OK) {
        nn_facts facts;
        nn_facts_of(&facts, plan, c->round);
        rc = nn_safetensors_write(out, model, w, &facts, err);
    }
    nn_model_destroy(model);
    free(w);
    fl_buf_fini(&bytes);
    return rc;
}

/* ---- the card ------------------------------------------------------------------------------------------------------ */

static void card_head(fl_buf *card, const chosen *c, const fl_hash *file)
{
    const nn_plan *p = c->plan;
    char hex[2 * FL_HASH_SIZE + 1];
    fl_buf_printf(card, "# Model of study %s, after round %u of %u\n\n", p->name, c->round, p->rounds);
    fl_hex_encode(hex, file->bytes, FL_HASH_SIZE);
    fl_buf_printf(card, "- SHA-256 of the file: %s\n", hex);
    fl_hex_encode(hex, p->hash.bytes, FL_HASH_SIZE);
    fl_buf_printf(card, "- plan: %s\n- architecture: %s, %u weights\n- input: %u x %u x %u\n- classes:", hex,
                  p->architecture, p->n_weights, p->channels, p->height, p->width);
    for (uint32_t i = 0; i < p->n_classes; i++)
        fl_buf_printf(card, "%s %u %s", i ? "," : "", i, p->classes[i]);
    fl_buf_printf(card, "\n- released model: %s\n\n",
                  p->average == NN_AVERAGE_NONE  ? "the weights of the last round"
                  : p->average == NN_AVERAGE_EMA ? "exponential mean over the rounds"
                                                 : "mean over the last rounds");
}

static fl_code card_hospitals(coord_store *s, fl_buf *card, const chosen *c, fl_err *err)
{
    fl_query q;
    fl_buf_printf(card,
                  "## Privacy\n\nThe unit is the patient (add or remove one, with all images). Every update was clipped"
                  " per patient and noised\ninside its hospital. Epsilon at delta %s, from the plan's terms, for the"
                  " rounds a hospital was asked to take part in:\n\n"
                  "| hospital | rounds | updates in the model | epsilon |\n|---|---|---|---|\n",
                  c->plan->delta);
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT r.site, count(*), count(c.site),"
                         " sum(?3 > 0 AND (r.round = 1 OR r.round % max(?3, 1) = 0 OR r.round = ?4)) FROM round_site r "
                         "LEFT JOIN contribution c"
                         " ON c.study = r.study AND c.round = r.round AND c.site = r.site"
                         " WHERE r.study = ?1 AND r.round <= ?2 GROUP BY r.site ORDER BY r.site",
                         err));
    fl_bind_text(&q, 1, c->plan->name);
    fl_bind_int(&q, 2, c->round);
    fl_bind_int(&q, 3, c->plan->metrics_every); /* nn_counts_in */
    fl_bind_int(&q, 4, c->plan->rounds);
    while (fl_query_row(&q)) {
        const uint64_t rounds = (uint64_t)fl_column_int(&q, 1), with_counts = (uint64_t)fl_column_int(&q, 3);
        fl_buf_printf(card, "| %s | %" PRIu64 " | %" PRId64 " | %.3f |\n", fl_column_text(&q, 0), rounds,
                      fl_column_int(&q, 2), coord_epsilon(c->plan, rounds, with_counts));
    }
    return fl_query_close(&q, err);
}

static fl_code make_card(coord_store *s, fl_buf *card, const chosen *c, const fl_hash *file, fl_err *err)
{
    card_head(card, c, file);
    FL_TRY(card_hospitals(s, card, c, err));
    fl_buf_add_text(card, "\nWhat each hospital really spent stands in its own ledger, which anybody can check with"
                          " cordon-audit.\nPatients seen in several hospitals compose: their epsilons add.\n\n"
                          "## Use\n\nFor research. No figure of merit is part of this file: judge the model on data of"
                          " your own before relying on it.\n");
    return fl_buf_check(card, "model card", err);
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static fl_code write_both(coord_session *s, const chosen *c, bool is_safetensors, const char *path, fl_err *err)
{
    char card_path[FL_PATH_MAX];
    fl_buf file, card;
    if (snprintf(card_path, sizeof card_path, "%s.md", path) >= (int)sizeof card_path)
        return fl_fail(err, FL_EFORMAT, "-o %.64s...: path too long", path);
    const size_t largest = nn_server_size(c->plan->n_weights) + NN_SAFETENSORS_MAX_HEADER + 8;
    fl_buf_init(&file, largest);
    fl_buf_init(&card, 1 << 18);
    fl_code rc = is_safetensors ? make_safetensors(s->store, &file, c, err)
                                : fl_objects_get(s->store->objects, &file, &c->server, err);
    if (rc == FL_OK)
        rc = fl_buf_check(&file, "model file", err);
    const fl_hash hash = fl_sha256(file.bytes, file.size);
    if (rc == FL_OK && (rc = make_card(s->store, &card, c, &hash, err)) == FL_OK &&
        (rc = fl_file_write(path, file.bytes, file.size, 0644, err)) == FL_OK)
        rc = fl_file_write(card_path, card.bytes, card.size, 0644, err);
    if (rc == FL_OK)
        fprintf(s->cli->out, "%s: model of study %s after round %u; its card is %s\n", path, c->plan->name, c->round,
                card_path);
    fl_buf_fini(&file);
    fl_buf_fini(&card);
    return rc;
}

static fl_code work_export(coord_session *s, fl_err *err)
{
    const char *format = fl_cli_value(s->cli, "format");
    const bool is_safetensors = strcmp(format, "safetensors") == 0;
    if (strcmp(format, "onnx") == 0)
        return fl_fail(err, FL_EREFUSED, "--format onnx: is not supported yet: take safetensors");
    if (!is_safetensors && strcmp(format, "cordon") != 0)
        return fl_fail(err, FL_EFORMAT, "--format %.40s: expected safetensors or cordon", format);
    nn_plan *plan = malloc(sizeof *plan);
    if (!plan)
        return fl_fail(err, FL_EENV, "export: no memory left");
    chosen c = {.plan = plan};
    fl_code rc = coord_session_plan(s, plan, fl_cli_value(s->cli, "study"), err);
    if (rc == FL_OK)
        rc = choose(s->store, &c, s->cli, err);
    if (rc == FL_OK)
        rc = write_both(s, &c, is_safetensors, fl_cli_value(s->cli, "o"), err);
    free(plan);
    return rc;
}

int coord_cmd_export(fl_cli *cli)
{
    return coord_session_run(cli, work_export);
}
