/*
 * evaluate: what a model is worth, on image files with labels, or on the node's own data set. All figures are about the hospital's own
 * patients and hold no noise: they stay where they are printed.
 */
#include "crypto/csprng.h"
#include "node/commands_parts.h"
#include "node/data.h"
#include "node/evaluation.h"
#include "node/films.h"
#include "node/groups.h"
#include "node/labels.h"
#include "train/predict.h"

#include <stdlib.h>
#include <string.h>

#define BOOTSTRAP_SEED 1
#define ROWS_AT_ONCE   256

/* What is collected: one entry an image. */
typedef struct judged_image {
    uint8_t patient[32];
    uint32_t label, group, number; /* number: of the patient, once all are here */
} judged_image;

typedef struct evaluating {
    fl_cli *cli;
    nn_model_file models[2]; /* the model, and the one of --against */
    uint32_t n_models;
    nn_plan *plan; /* the model's classes, shape and kind of labels: what the data's functions read of a plan */
    fl_pool *pool;
    int split; /* node_split; -1: all */
    nn_targets targets;
    bool has_groups;
    node_groups groups;
    judged_image *images;
    float *p[2]; /* (capacity, classes) of each model */
    uint32_t n, capacity;
    uint32_t n_other, n_elsewhere, n_refused, n_unreadable; /* no class of the model; another split; refused files */
    fl_json *refused;
} evaluating;

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "evaluation: out of memory");
}

/* ---- collecting ---------------------------------------------------------------------------------------------------- */

static fl_code reserve(evaluating *k, uint32_t more, fl_err *err)
{
    if (k->n + more <= k->capacity)
        return FL_OK;
    const uint32_t capacity = 2 * k->capacity + more + 256;
    judged_image *images = realloc(k->images, capacity * sizeof *images);
    if (!images)
        return no_memory(err);
    k->images = images;
    for (uint32_t m = 0; m < k->n_models; m++) {
        float *p = realloc(k->p[m], (size_t)capacity * k->plan->n_classes * sizeof *p);
        if (!p)
            return no_memory(err);
        k->p[m] = p;
    }
    k->capacity = capacity;
    return FL_OK;
}

static float *place(evaluating *k, uint32_t model, uint32_t image)
{
    return k->p[model] + (size_t)image * k->plan->n_classes;
}

/* The part an image belongs to; without --by they are all in the first. */
static fl_code find_group(evaluating *k, uint32_t *group, const char *text, fl_err *err)
{
    *group = 0;
    return k->has_groups ? node_groups_add(&k->groups, group, text, err) : FL_OK;
}

static fl_code read_split(evaluating *k, bool is_folder, fl_err *err)
{
    const char *name = fl_cli_value(k->cli, "split");
    k->split = is_folder ? NODE_SPLIT_TEST : -1;
    if (!name || (strcmp(name, "all") == 0 && !is_folder))
        return FL_OK;
    for (int s = 0; s < NODE_N_SPLITS; s++)
        if (strcmp(name, node_split_name((node_split)s)) == 0) {
            k->split = s;
            return FL_OK;
        }
    return fl_fail(err, FL_EFORMAT, "--split: \"%.20s\" is none of train, val, test%s", name, is_folder ? "" : ", all");
}

static fl_code start(evaluating *k, bool is_folder, fl_err *err)
{
    const char *by = fl_cli_value(k->cli, "by"), *against = fl_cli_value(k->cli, "against");
    k->targets = nn_default_targets;
    FL_TRY(fl_cli_real(k->cli, "specificity", &k->targets.specificity, 0.001, 1, err));
    FL_TRY(fl_cli_real(k->cli, "sensitivity", &k->targets.sensitivity, 0.001, 1, err));
    FL_TRY(read_split(k, is_folder, err));
    k->has_groups = by != NULL;
    if (by)
        FL_TRY(node_groups_init(&k->groups, by, err));
    FL_TRY(node_model_open(&k->models[k->n_models++], fl_cli_value(k->cli, "model"), err));
    if (against)
        FL_TRY(node_model_open(&k->models[k->n_models++], against, err));
    const nn_facts *f = &k->models[0].facts, *g = &k->models[1].facts;
    if (against && (f->n_classes != g->n_classes || f->is_multi != g->is_multi ||
                    memcmp(f->classes, g->classes, sizeof f->classes) != 0))
        return fl_fail(err, FL_EREFUSED, "--against: the other model has other classes: they cannot be compared");
    k->plan = calloc(1, sizeof *k->plan);
    k->refused = fl_json_array();
    if (!k->plan)
        return no_memory(err);
    k->plan->n_classes = f->n_classes;
    memcpy(k->plan->classes, f->classes, sizeof k->plan->classes);
    k->plan->multi = f->is_multi;
    return fl_pool_create(&k->pool, 0, err);
}

/* ---- image files ------------------------------------------------------------------------------------------------------ */

typedef struct file_source {
    node_films films;
    node_labels labels;
    char labels_path[FL_PATH_MAX];
    node_column by;
    node_film_batch batch[2];
} file_source;

static void refuse(evaluating *k, const node_film *film, const char *reason, bool is_unreadable)
{
    k->n_refused++;
    k->n_unreadable += is_unreadable;
    fprintf(k->cli->err, "%s: ", k->cli->program);
    node_print_path(k->cli->err, film->path);
    fprintf(k->cli->err, ": refused: %s\n", reason);
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "file", film->path);
    fl_json_set_text(j, "reason", reason);
    fl_json_push(k->refused, j);
}

/* --labels, else the labels.csv in the one folder that was named. */
static fl_code find_labels(evaluating *k, file_source *s, fl_err *err)
{
    fl_cli *cli = k->cli;
    const char *path = fl_cli_value(cli, "labels");
    if (path && strlen(path) < sizeof s->labels_path)
        snprintf(s->labels_path, sizeof s->labels_path, "%s", path);
    else if (!path && cli->n_args == 1 && strlen(cli->args[0]) + 16 < sizeof s->labels_path)
        snprintf(s->labels_path, sizeof s->labels_path, "%s/labels.csv", cli->args[0]);
    if (!s->labels_path[0] || (!path && !fl_file_exists(s->labels_path)))
        return fl_fail(err, FL_EFORMAT, "evaluate: no labels: say --labels labels.csv");
    FL_TRY(node_labels_load(&s->labels, s->labels_path, s->films.key, cli->err, err));
    if (k->split >= 0 && !s->labels.has_split_column)
        return fl_fail(err, FL_EFORMAT, "--split: the labels have no column split");
    return k->has_groups ? node_column_load(&s->by, s->labels_path, k->groups.column, err) : FL_OK;
}

static fl_code open_files(evaluating *k, file_source *s, fl_err *err)
{
    fl_cli *cli = k->cli;
    FL_TRY(node_films_open(&s->films, cli->args, (size_t)cli->n_args, NULL, fl_cli_value(cli, "allow"), err));
    FL_TRY(find_labels(k, s, err));
    for (uint32_t m = 0; m < k->n_models; m++)
        FL_TRY(node_film_batch_open(&s->batch[m], &k->models[m], k->pool, err));
    return FL_OK;
}

static void close_files(file_source *s)
{
    for (int m = 0; m < 2; m++)
        node_film_batch_close(&s->batch[m]);
    node_column_fini(&s->by);
    node_labels_fini(&s->labels);
    node_films_close(&s->films);
}

static fl_code run_batch(evaluating *k, file_source *s, fl_err *err)
{
    const uint32_t n = s->batch[0].inputs.n_images;
    for (uint32_t m = 0; m < k->n_models && n > 0; m++) {
        FL_TRY(node_film_batch_run(&s->batch[m], err));
        memcpy(place(k, m, k->n), s->batch[m].probabilities, (size_t)n * k->plan->n_classes * sizeof(float));
    }
    k->n += n;
    return FL_OK;
}

/* An image that counts: into the batch, and its entry behind those that are through. */
static fl_code take(evaluating *k, file_source *s, const img_image *image, const node_label *row, uint32_t label,
                    size_t film, fl_err *err)
{
    const uint32_t at = k->n + s->batch[0].inputs.n_images;
    FL_TRY(reserve(k, NODE_FILM_BATCH, err));
    judged_image *j = &k->images[at];
    *j = (judged_image){.label = label};
    if (image->has_patient)
        memcpy(j->patient, image->patient, 32);
    else if (row->has_patient)
        memcpy(j->patient, row->patient, 32);
    else /* nobody else's: a number that no pseudonym is, but by chance */
        snprintf((char *)j->patient, sizeof j->patient, "image %zu", film);
    FL_TRY(find_group(k, &j->group, node_column_at(&s->by, row->line), err));
    for (uint32_t m = 0; m < k->n_models; m++)
        FL_TRY(node_film_batch_add(&s->batch[m], image, err));
    return s->batch[0].inputs.n_images == NODE_FILM_BATCH ? run_batch(k, s, err) : FL_OK;
}

static fl_code one_file(evaluating *k, file_source *s, size_t i, fl_err *err)
{
    const node_film *film = &s->films.files.list[i];
    img_image image;
    fl_err reason = {0};
    uint32_t label;
    const node_label *row = node_labels_by_file(&s->labels, film->real, film->base_is_unique);
    if (row && k->split >= 0 && row->split != k->split) {
        k->n_elsewhere++;
        return FL_OK; /* not even read */
    }
    fl_code rc = node_films_read(&s->films, i, &image, &reason);
    if (rc == FL_EREFUSED || rc == FL_EFORMAT) {
        refuse(k, film, reason.text, rc == FL_EFORMAT);
        return FL_OK;
    }
    if (rc)
        return fl_fail(err, rc, "%s", reason.text);
    if (!row && image.has_sop)
        row = node_labels_by_sop(&s->labels, image.sop);
    if (!row)
        refuse(k, film, "no label: no row of the labels names this file", false);
    else if (k->split >= 0 && row->split != k->split)
        k->n_elsewhere++;
    else if (!node_label_read(&label, k->plan, row->text, true))
        k->n_other++;
    else
        rc = take(k, s, &image, row, label, i, err);
    img_image_fini(&image);
    return rc;
}

static fl_code collect_files(evaluating *k, fl_err *err)
{
    file_source *s = calloc(1, sizeof *s);
    if (!s)
        return no_memory(err);
    fl_code rc = open_files(k, s, err);
    for (size_t i = 0; i < s->films.files.n && rc == FL_OK; i++)
        rc = one_file(k, s, i, err);
    if (rc == FL_OK)
        rc = run_batch(k, s, err);
    close_files(s);
    free(s);
    return rc;
}

/* ---- the node's data set ------------------------------------------------------------------------------------------------ */

/* The texts of a column of the store for the rows of node_data_list_for, in their order. */
static fl_code list_groups(evaluating *k, uint32_t *group, size_t n, node_store *s, const char *dataset, fl_err *err)
{
    static const char *const columns[] = {"modality", "body_part", "view", "laterality"};
    char sql[200] = "";
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (strcasecmp(columns[i], k->groups.column) == 0)
            snprintf(sql, sizeof sql,
                     "SELECT label, %s FROM image WHERE dataset = ? AND split = ? ORDER BY patient, object, label",
                     columns[i]);
    if (!sql[0])
        return fl_fail(err, FL_EFORMAT, "--by: a node keeps modality, body_part, view and laterality, and no \"%s\"",
                       k->groups.column);
    fl_query q;
    uint32_t label;
    size_t at = 0;
    FL_TRY(fl_query_open(&q, s->db, sql, err));
    fl_bind_text(&q, 1, dataset);
    fl_bind_int(&q, 2, k->split);
    fl_code rc = FL_OK;
    while (rc == FL_OK && fl_query_row(&q))
        if (node_label_read(&label, k->plan, fl_column_text(&q, 0), true) && at < n)
            rc = node_groups_add(&k->groups, &group[at++], fl_column_text(&q, 1), err);
    fl_code closed = fl_query_close(&q, rc ? NULL : err);
    return rc ? rc : closed;
}

/* Rows first .. first + n of whole patients, through every model. */
static fl_code run_rows(evaluating *k, node_store *s, const node_data_rows *rows, size_t first, size_t n,
                        const uint32_t *group, fl_err *err)
{
    const node_data_rows part = {.rows = rows->rows + first, .n = n};
    FL_TRY(reserve(k, (uint32_t)n, err));
    for (uint32_t m = 0; m < k->n_models; m++) {
        const nn_shape shape = k->models[m].facts.input;
        nn_dataset d;
        k->plan->channels = shape.C;
        k->plan->height = shape.H;
        k->plan->width = shape.W;
        FL_TRY(node_data_build(&d, s->objects, &part, k->plan, err));
        fl_code rc = d.n_images == n
                         ? nn_predict(place(k, m, k->n), k->models[m].model, k->models[m].w, &d, k->pool, err)
                         : fl_fail(err, FL_EENV, "data: pixels of %zu images are gone: run `data check`",
                                   n - d.n_images);
        nn_dataset_fini(&d);
        FL_TRY(rc);
    }
    for (size_t i = 0; i < n; i++) {
        judged_image *j = &k->images[k->n++];
        memcpy(j->patient, part.rows[i].patient, 32);
        j->label = part.rows[i].label;
        j->group = group ? group[first + i] : 0;
    }
    return FL_OK;
}

static fl_code run_all_rows(evaluating *k, node_store *s, const node_data_rows *rows, const uint32_t *group,
                            fl_err *err)
{
    for (size_t first = 0, n; first < rows->n; first += n) {
        n = rows->n - first < ROWS_AT_ONCE ? rows->n - first : ROWS_AT_ONCE;
        while (first + n < rows->n && memcmp(rows->rows[first + n].patient, rows->rows[first + n - 1].patient, 32) == 0)
            n++;
        FL_TRY(run_rows(k, s, rows, first, n, group, err));
    }
    return FL_OK;
}

static fl_code collect_dataset(evaluating *k, node_store *s, fl_err *err)
{
    const char *name = fl_cli_value(k->cli, "dataset"), *dataset = name ? name : "main";
    node_data_rows rows;
    FL_TRY(node_data_list_for(&rows, s, dataset, k->plan, (node_split)k->split, err));
    k->n_other = (uint32_t)rows.n_other;
    uint32_t *group = calloc(rows.n + 1, sizeof *group);
    fl_code rc = group ? FL_OK : no_memory(err);
    if (rc == FL_OK && k->has_groups)
        rc = list_groups(k, group, rows.n, s, dataset, err);
    if (rc == FL_OK)
        rc = run_all_rows(k, s, &rows, group, err);
    free(group);
    node_data_rows_fini(&rows);
    return rc;
}

/* ---- judging -------------------------------------------------------------------------------------------------------- */

static int by_patient(const void *a, const void *b)
{
    return memcmp((*(judged_image *const *)a)->patient, (*(judged_image *const *)b)->patient, 32);
}

static fl_code number_patients(evaluating *k, uint32_t *n_patients, fl_err *err)
{
    judged_image **sorted = calloc((size_t)k->n + 1, sizeof(judged_image *));
    if (!sorted)
        return no_memory(err);
    for (uint32_t i = 0; i < k->n; i++)
        sorted[i] = &k->images[i];
    qsort(sorted, k->n, sizeof(judged_image *), by_patient);
    *n_patients = 0;
    for (uint32_t i = 0; i < k->n; i++) {
        if (i > 0 && by_patient(&sorted[i - 1], &sorted[i]) != 0)
            ++*n_patients;
        sorted[i]->number = *n_patients;
    }
    *n_patients += k->n > 0;
    free(sorted);
    return FL_OK;
}

/* Every class's AUROC of the first model less that of the second. */
static fl_code compare(evaluating *k, nn_comparison *out, const uint32_t *patient, fl_err *err)
{
    const uint32_t C = k->plan->n_classes;
    double *a = calloc((size_t)k->n + 1, sizeof *a), *b = calloc((size_t)k->n + 1, sizeof *b);
    uint8_t *positive = calloc((size_t)k->n + 1, 1);
    fl_code rc = a && b && positive ? FL_OK : no_memory(err);
    for (uint32_t c = 0; c < C && rc == FL_OK; c++) {
        for (uint32_t i = 0; i < k->n; i++) {
            a[i] = place(k, 0, i)[c];
            b[i] = place(k, 1, i)[c];
            positive[i] = k->plan->multi ? k->images[i].label >> c & 1 : k->images[i].label == c;
        }
        rc = nn_delong_compare(&out[c], a, b, positive, patient, k->n, err);
    }
    free(a);
    free(b);
    free(positive);
    return rc;
}

static void tell(evaluating *k, const node_evaluation *e)
{
    FILE *out = k->cli->out;
    const nn_facts *f = &k->models[0].facts;
    if (!fl_cli_flag(k->cli, "json")) {
        fprintf(out, "model of study %s after round %u\n", f->study, f->round);
        if (k->split >= 0)
            fprintf(out, "split %s\n", node_split_name((node_split)k->split));
        if (k->n_other)
            fprintf(out, "%u images left out: their label is no class of the model\n", k->n_other);
        if (k->n_elsewhere)
            fprintf(out, "%u images left out: they are of other splits\n", k->n_elsewhere);
        node_evaluation_print(out, e);
        return;
    }
    fl_json *j = fl_json_object();
    fl_json_set(j, "model", node_model_json(&k->models[0]));
    if (k->n_models == 2)
        fl_json_set(j, "other_model", node_model_json(&k->models[1]));
    fl_json_set_text(j, "split", k->split >= 0 ? node_split_name((node_split)k->split) : "all");
    fl_json_set_int(j, "left_out_other_label", k->n_other);
    fl_json_set_int(j, "left_out_other_split", k->n_elsewhere);
    fl_json_set(j, "refused", k->refused);
    k->refused = NULL;
    node_evaluation_json(j, e);
    (void)node_print_json(k->cli, j);
}

static fl_code judge_parts(evaluating *k, node_evaluation *e, const nn_judged *j, const uint32_t *group, fl_err *err)
{
    if (!k->has_groups)
        return FL_OK;
    uint32_t order[NODE_MAX_GROUPS];
    node_groups_order(&k->groups, order);
    e->by = k->groups.column;
    e->parts = calloc((size_t)k->groups.n + 1, sizeof *e->parts);
    if (!e->parts)
        return no_memory(err);
    for (uint32_t i = 0; i < k->groups.n; i++) {
        node_part *part = &e->parts[e->n_parts];
        part->name = k->groups.names[order[i]];
        FL_TRY(nn_report_part(&part->report, j, group, order[i], &k->targets, BOOTSTRAP_SEED, err));
        e->n_parts += part->report.n_images > 0; /* a band may be empty */
    }
    return FL_OK;
}

static fl_code judge(evaluating *k, fl_err *err)
{
    uint32_t n_patients = 0;
    const size_t n = (size_t)k->n + 1;
    FL_TRY(number_patients(k, &n_patients, err));
    node_evaluation *e = calloc(1, sizeof *e);
    uint32_t *columns = calloc(3 * n, sizeof *columns), *labels = columns, *patient = columns + n, *group = patient + n;
    nn_comparison *against = calloc(k->plan->n_classes, sizeof *against);
    fl_code rc = e && columns && against ? FL_OK : no_memory(err);
    for (uint32_t i = 0; i < k->n && rc == FL_OK; i++) {
        labels[i] = k->images[i].label;
        patient[i] = k->images[i].number;
        group[i] = k->images[i].group;
    }
    const nn_judged j = {k->p[0], labels, patient, k->n, n_patients, k->plan->n_classes, k->plan->multi};
    if (rc == FL_OK) {
        e->classes = (const char(*)[32])k->models[0].facts.classes;
        rc = nn_report_make(&e->whole, &j, &k->targets, BOOTSTRAP_SEED, err);
    }
    if (rc == FL_OK)
        rc = judge_parts(k, e, &j, group, err);
    if (rc == FL_OK && k->n_models == 2) {
        rc = compare(k, against, patient, err);
        e->against = against;
    }
    if (rc == FL_OK)
        tell(k, e);
    free(e ? e->parts : NULL);
    free(e);
    free(columns);
    free(against);
    return rc;
}

/* store NULL: image files. */
static int evaluate(fl_cli *cli, node_store *store)
{
    fl_err err = {0};
    evaluating *k = calloc(1, sizeof *k);
    if (!k)
        return fl_cli_fail(cli, &(fl_err){.code = FL_EENV, .text = "evaluation: out of memory"});
    k->cli = cli;
    fl_code rc = start(k, store != NULL, &err);
    if (rc == FL_OK)
        rc = store ? collect_dataset(k, store, &err) : collect_files(k, &err);
    if (rc == FL_OK && k->n == 0 && k->n_unreadable > 0 && k->n_unreadable == k->n_refused)
        rc = fl_fail(&err, FL_EFORMAT, "evaluate: none of the files is a readable image");
    else if (rc == FL_OK && k->n == 0)
        rc = fl_fail(&err, FL_EREFUSED, "evaluate: there are no images to judge%s",
                     store ? " in this split of the data set: see `data check`" : "");
    if (rc == FL_OK)
        rc = judge(k, &err);
    const int code = rc ? fl_cli_fail(cli, &err) : k->n_refused > 0 ? 1 : 0;
    fl_json_free(k->refused);
    free(k->images);
    for (uint32_t m = 0; m < 2; m++) {
        free(k->p[m]);
        nn_model_file_close(&k->models[m]);
    }
    fl_pool_destroy(k->pool);
    free(k->plan);
    free(k);
    return code;
}

int node_evaluate_files(fl_cli *cli)
{
    return evaluate(cli, NULL);
}

int node_evaluate_command(fl_cli *cli, node_session *s)
{
    return evaluate(cli, s->store);
}
