/*
 * predict: probabilities of image files. Files go through in batches, so a folder may be of any size; a file that is not taken costs
 * one line.
 */
#include "base/encode.h"
#include "node/commands_parts.h"
#include "node/films.h"
#include "train/predict.h"

#include <stdlib.h>
#include <string.h>

typedef struct predicting {
    fl_cli *cli;
    nn_model_file model;
    fl_pool *pool;
    node_films films;
    node_film_batch batch;
    size_t in_batch[NODE_FILM_BATCH]; /* places in films.files */
    uint32_t n_read, n_refused, n_unreadable, n_by_policy;
    fl_json *images, *refused; /* --json */
    fl_buf csv;                /* --csv */
    bool has_json, has_csv;
} predicting;

/* ---- one image's answer -------------------------------------------------------------------------------------------- */

static void csv_text(fl_buf *csv, const char *text)
{
    const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    fl_buf_add_text(csv, quoted ? "\"" : "");
    for (; *text; text++)
        fl_buf_printf(csv, "%s%c", *text == '"' ? "\"" : "", *text);
    fl_buf_add_text(csv, quoted ? "\"" : "");
}

/* "pneumonia"; bit sets: "effusion|mass", "" for none. */
static void answer_of(fl_buf *out, const nn_facts *f, const float *p)
{
    uint32_t best = 0;
    bool first = true;
    for (uint32_t c = 0; c < f->n_classes; c++) {
        best = p[c] > p[best] ? c : best;
        if (!f->is_multi || p[c] < 0.5f)
            continue;
        fl_buf_printf(out, "%s%s", first ? "" : "|", f->classes[c]);
        first = false;
    }
    if (!f->is_multi)
        fl_buf_add_text(out, f->classes[best]);
}

static void tell_text(const predicting *k, const char *path, const char *answer, const float *p)
{
    const nn_facts *f = &k->model.facts;
    FILE *out = k->cli->out;
    node_print_path(out, path);
    fprintf(out, ": %s  (", *answer ? answer : "none");
    for (uint32_t c = 0; c < f->n_classes; c++)
        fprintf(out, "%s%s %.4f", c ? ", " : "", f->classes[c], p[c]);
    fputs(")\n", out);
}

static void tell_json(predicting *k, const char *path, const char *answer, const float *p)
{
    const nn_facts *f = &k->model.facts;
    fl_json *j = fl_json_object(), *values = fl_json_array();
    for (uint32_t c = 0; c < f->n_classes; c++)
        fl_json_push_real(values, p[c]);
    fl_json_set_text(j, "file", path);
    fl_json_set_text(j, "predicted", answer);
    fl_json_set(j, "probabilities", values);
    fl_json_push(k->images, j);
}

static void tell_csv(predicting *k, const char *path, const char *answer, const float *p, const char *reason)
{
    csv_text(&k->csv, path);
    fl_buf_add_text(&k->csv, ",");
    csv_text(&k->csv, answer);
    for (uint32_t c = 0; c < k->model.facts.n_classes; c++)
        if (p)
            fl_buf_printf(&k->csv, ",%.9g", p[c]);
        else
            fl_buf_add_text(&k->csv, ",");
    fl_buf_add_text(&k->csv, ",");
    csv_text(&k->csv, reason);
    fl_buf_add_text(&k->csv, "\r\n");
}

static void tell(predicting *k, size_t film, const float *p)
{
    const char *path = k->films.files.list[film].path;
    fl_buf answer;
    fl_buf_init(&answer, 4096);
    answer_of(&answer, &k->model.facts, p);
    if (k->has_csv)
        tell_csv(k, path, fl_buf_text(&answer), p, "");
    if (k->has_json)
        tell_json(k, path, fl_buf_text(&answer), p);
    else
        tell_text(k, path, fl_buf_text(&answer), p);
    fl_buf_fini(&answer);
}

static void refuse(predicting *k, size_t film, const fl_err *reason)
{
    const char *path = k->films.files.list[film].path;
    k->n_refused++;
    k->n_unreadable += reason->code != FL_EREFUSED;
    fprintf(k->cli->err, "%s: ", k->cli->program);
    node_print_path(k->cli->err, path);
    fprintf(k->cli->err, ": refused: %s\n", reason->text);
    k->n_by_policy += strstr(reason->text, "policy") != NULL;
    if (k->has_csv)
        tell_csv(k, path, "", NULL, reason->text);
    if (k->has_json) {
        fl_json *j = fl_json_object();
        fl_json_set_text(j, "file", path);
        fl_json_set_text(j, "reason", reason->text);
        fl_json_push(k->refused, j);
    }
}

/* ---- the whole -------------------------------------------------------------------------------------------------------- */

static fl_code run_batch(predicting *k, fl_err *err)
{
    const uint32_t n = k->batch.inputs.n_images;
    if (n == 0)
        return FL_OK;
    FL_TRY(node_film_batch_run(&k->batch, err));
    for (uint32_t i = 0; i < n; i++)
        tell(k, k->in_batch[i], k->batch.probabilities + (size_t)i * k->model.facts.n_classes);
    return FL_OK;
}

static fl_code run_all(predicting *k, fl_err *err)
{
    for (size_t i = 0; i < k->films.files.n; i++) {
        img_image image;
        fl_err reason = {0};
        fl_code rc = node_films_read(&k->films, i, &image, &reason);
        if (rc == FL_EREFUSED || rc == FL_EFORMAT) {
            refuse(k, i, &reason);
            continue;
        }
        if (rc)
            return fl_fail(err, rc, "%s", reason.text);
        k->n_read++;
        k->in_batch[k->batch.inputs.n_images] = i;
        rc = node_film_batch_add(&k->batch, &image, err);
        img_image_fini(&image);
        FL_TRY(rc);
        if (k->batch.inputs.n_images == NODE_FILM_BATCH)
            FL_TRY(run_batch(k, err));
    }
    return run_batch(k, err);
}

static fl_code start(predicting *k, fl_err *err)
{
    fl_cli *cli = k->cli;
    FL_TRY(node_model_open(&k->model, fl_cli_value(cli, "model"), err));
    FL_TRY(node_films_open(&k->films, cli->args, (size_t)cli->n_args, NULL, fl_cli_value(cli, "allow"), err));
    FL_TRY(fl_pool_create(&k->pool, 0, err));
    FL_TRY(node_film_batch_open(&k->batch, &k->model, k->pool, err));
    k->images = fl_json_array();
    k->refused = fl_json_array();
    if (k->has_csv) {
        fl_buf_add_text(&k->csv, "file,predicted");
        for (uint32_t c = 0; c < k->model.facts.n_classes; c++) {
            fl_buf_add_text(&k->csv, ",p_");
            csv_text(&k->csv, k->model.facts.classes[c]);
        }
        fl_buf_add_text(&k->csv, ",refused\r\n");
    }
    return FL_OK;
}

static fl_code finish(predicting *k, fl_err *err)
{
    if (k->has_csv) {
        FL_TRY(fl_buf_check(&k->csv, "--csv", err));
        FL_TRY(fl_file_write(fl_cli_value(k->cli, "csv"), k->csv.bytes, k->csv.size, 0600, err));
    }
    if (!k->has_json)
        return FL_OK;
    fl_json *j = fl_json_object();
    fl_json_set(j, "model", node_model_json(&k->model));
    fl_json_set(j, "images", k->images);
    fl_json_set(j, "refused", k->refused);
    k->images = k->refused = NULL;
    (void)node_print_json(k->cli, j);
    return FL_OK;
}

int node_predict_command(fl_cli *cli)
{
    fl_err err = {0};
    predicting *k = calloc(1, sizeof *k);
    if (!k)
        return fl_cli_fail(cli, &(fl_err){.code = FL_EENV, .text = "predict: out of memory"});
    k->cli = cli;
    k->has_json = fl_cli_flag(cli, "json");
    k->has_csv = fl_cli_value(cli, "csv") != NULL;
    fl_buf_init(&k->csv, FL_JSON_MAX);
    fl_code rc = start(k, &err);
    if (rc == FL_OK)
        rc = run_all(k, &err);
    if (rc == FL_OK)
        rc = finish(k, &err);
    int code = rc                                                                         ? fl_cli_fail(cli, &err)
               : k->n_read == 0 && k->n_unreadable > 0 && k->n_unreadable == k->n_refused ? 2
               : k->n_refused > 0                                                         ? 1
                                                                                          : 0;
    fl_json_free(k->images);
    fl_json_free(k->refused);
    fl_buf_fini(&k->csv);
    node_film_batch_close(&k->batch);
    fl_pool_destroy(k->pool);
    node_films_close(&k->films);
    nn_model_file_close(&k->model);
    free(k);
    return code;
}

fl_json *node_model_json(const nn_model_file *f)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_json *j = fl_json_object(), *classes = fl_json_array();
    for (uint32_t c = 0; c < f->facts.n_classes; c++)
        fl_json_push_text(classes, f->facts.classes[c]);
    fl_hex_encode(hex, f->hash.bytes, FL_HASH_SIZE);
    fl_json_set_text(j, "sha256", hex);
    fl_json_set_text(j, "study", f->facts.study);
    fl_json_set_text(j, "plan_hash", f->facts.plan_hash);
    fl_json_set_int(j, "round", f->facts.round);
    fl_json_set_text(j, "labels", f->facts.is_multi ? "multi" : "single");
    fl_json_set(j, "classes", classes);
    return j;
}
