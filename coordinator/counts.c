#include "coordinator/counts.h"

#include "coordinator/query.h"
#include "train/counts.h"
#include "train/noised.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The last cells of an update of size_bytes. */
static fl_code read_tail(int64_t *cells, uint32_t n, coord_store *s, const fl_hash *update, uint64_t size_bytes,
                         fl_err *err)
{
    const size_t tail = (size_t)n * DP_CELL_BYTES;
    size_t n_read = 0;
    uint8_t *bytes = malloc(tail);
    fl_code rc = bytes ? fl_objects_read_at(s->objects, bytes, tail, update, size_bytes - tail, &n_read, err)
                       : fl_fail(err, FL_EENV, "metrics: no memory left");
    if (rc == FL_OK && n_read != tail)
        rc = fl_fail(err, FL_EENV, "metrics: a stored update is too short");
    if (rc == FL_OK)
        rc = dp_cells_read(cells, n, bytes, err);
    free(bytes);
    return rc;
}

bool coord_counts_are_sane(coord_store *s, const coord_state *state, const wire_message *m)
{
    fl_err none;
    const uint32_t study = coord_find_study(state, m->study);
    if (study == UINT32_MAX)
        return true;
    const coord_study *st = &state->studies[study];
    if (m->round != st->round || m->u.released.update_bytes != coord_update_bytes(st) || !coord_has_counts(st))
        return true; /* another rule refuses it, or it holds none */
    return read_tail(NULL, st->metrics_cells, s, &m->u.released.update_hash, coord_update_bytes(st), &none) == FL_OK;
}

fl_code coord_counts_load(coord_counts *out, coord_store *s, const nn_plan *plan, uint32_t round, fl_err *err)
{
    const dp_update_shape shape = nn_plan_update(plan, round);
    fl_query q;
    memset(out, 0, sizeof *out);
    out->round = round;
    out->n_cells = shape.cells;
    out->names = calloc(COORD_MAX_SITES, sizeof *out->names);
    out->cells = calloc((size_t)(COORD_MAX_SITES + 1) * shape.cells + 1, sizeof *out->cells);
    if (!out->names || !out->cells) {
        coord_counts_fini(out);
        return fl_fail(err, FL_EENV, "metrics: no memory left");
    }
    fl_code rc = fl_query_open(
        &q, s->db, "SELECT site, update_hash FROM contribution WHERE study = ? AND round = ? ORDER BY site", err);
    if (rc == FL_OK) {
        fl_bind_text(&q, 1, plan->name);
        fl_bind_int(&q, 2, round);
        while (rc == FL_OK && shape.cells > 0 && out->n_sites < COORD_MAX_SITES && fl_query_row(&q)) {
            fl_hash hash;
            snprintf(out->names[out->n_sites], sizeof out->names[0], "%s", fl_column_text(&q, 0));
            coord_column_hash(&hash, &q, 1);
            rc = read_tail(out->cells + (size_t)out->n_sites++ * shape.cells, shape.cells, s, &hash,
                           dp_update_size(&shape), err);
        }
        fl_code closed = fl_query_close(&q, rc ? NULL : err);
        rc = rc ? rc : closed;
    }
    int64_t *sum = out->cells + (size_t)out->n_sites * shape.cells;
    for (uint32_t i = 0; rc == FL_OK && i < out->n_sites; i++)
        for (uint32_t k = 0; k < shape.cells; k++)
            sum[k] += out->cells[(size_t)i * shape.cells + k];
    if (rc)
        coord_counts_fini(out);
    return rc ? fl_fail_in(err, "study %s: round %u", plan->name, round) : FL_OK;
}

void coord_counts_fini(coord_counts *c)
{
    free(c->names);
    free(c->cells);
    memset(c, 0, sizeof *c);
}

/* The hospital's cells, or for n_sites the sum's; *variance of the noise in each. */
static const int64_t *cells_of(double *variance, const coord_counts *c, const nn_plan *plan, uint32_t site)
{
    *variance = (double)plan->metrics_noise_variance * (site == c->n_sites ? c->n_sites : 1);
    return c->cells + (size_t)site * c->n_cells;
}

static nn_auroc_interval auroc_of(const int64_t *cells, const nn_counts_layout *at, uint32_t h, double variance)
{
    const int64_t *negatives = cells + 2 * (size_t)h * at->bins;
    return nn_noised_auroc(negatives + at->bins, negatives, at->bins, variance);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static fl_json *numbers(const int64_t *cells, uint32_t n)
{
    fl_json *list = fl_json_array();
    for (uint32_t i = 0; i < n; i++)
        fl_json_push_int(list, cells[i]);
    return list;
}

/* Patients with each class; of a multi-label study one may be in several. */
static fl_json *class_numbers(const int64_t *cells, const nn_plan *plan, bool is_validation)
{
    fl_json *list = fl_json_array();
    for (uint32_t c = 0; c < plan->n_classes; c++)
        fl_json_push_int(list, cells[nn_counts_cell_of(plan, c, is_validation)]);
    return list;
}

static fl_json *auroc_json(const nn_auroc_interval *r, const char *class)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "class", class);
    fl_json_set_bool(j, "enough_signal", r->has_signal);
    if (r->has_signal)
        fl_json_set_real(j, "value", r->value);
    else
        fl_json_set_null(j, "value");
    fl_json_set_real(j, "low", r->low);
    fl_json_set_real(j, "high", r->high);
    fl_json_set_real(j, "positives", r->positives);
    fl_json_set_real(j, "negatives", r->negatives);
    return j;
}

static fl_json *row_json(const coord_counts *c, const nn_plan *plan, uint32_t site)
{
    double variance;
    const int64_t *cells = cells_of(&variance, c, plan, site);
    const nn_counts_layout at = nn_counts_where(plan);
    fl_json *j = fl_json_object(), *list = fl_json_array();
    fl_json_set_text(j, "name", site == c->n_sites ? "total" : c->names[site]);
    fl_json_set_real(j, "noise", sqrt(variance));
    for (uint32_t h = 0; h < at.n_histograms; h++) {
        const nn_auroc_interval r = auroc_of(cells, &at, h, variance);
        fl_json_push(list, auroc_json(&r, plan->classes[nn_counts_class(plan, h)]));
    }
    fl_json_set(j, "auroc", list);
    if (at.classes != UINT32_MAX) {
        fl_json_set(j, "training", class_numbers(cells, plan, false));
        fl_json_set(j, "validation", class_numbers(cells, plan, true));
    }
    if (at.images != UINT32_MAX) {
        fl_json_set(j, "images_per_patient", numbers(cells + at.images, NN_COUNTS_BUCKETS));
        fl_json_set(j, "contrast", numbers(cells + at.contrast, NN_COUNTS_BUCKETS));
    }
    fl_json_set(j, "cells", numbers(cells, c->n_cells));
    return j;
}

static fl_json *round_json(const coord_counts *c, const nn_plan *plan)
{
    fl_json *j = fl_json_object(), *rows = fl_json_array();
    fl_json_set_int(j, "round", c->round);
    for (uint32_t i = 0; i < c->n_sites; i++)
        fl_json_push(rows, row_json(c, plan, i));
    fl_json_set(j, "hospitals", rows);
    fl_json_set(j, "total", row_json(c, plan, c->n_sites));
    return j;
}

fl_code coord_counts_json(fl_json **out, coord_store *s, const nn_plan *plan, uint32_t last_round, fl_err *err)
{
    fl_json *rounds = fl_json_array();
    fl_code rc = FL_OK;
    for (uint32_t round = 1; round <= last_round && rc == FL_OK; round++) {
        coord_counts c;
        if (!nn_counts_in(plan, round) || (rc = coord_counts_load(&c, s, plan, round, err)))
            continue;
        if (c.n_sites > 0)
            fl_json_push(rounds, round_json(&c, plan));
        coord_counts_fini(&c);
    }
    if (rc) {
        fl_json_free(rounds);
        return rc;
    }
    *out = rounds;
    return FL_OK;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static void counts_words(FILE *out, const char *what, const int64_t *cells, const char *const *buckets, uint32_t n)
{
    fprintf(out, "      %s:", what);
    for (uint32_t i = 0; i < n; i++)
        fprintf(out, "%s %s %" PRId64, i ? "," : "", buckets[i], cells[i]);
    fputs("\n", out);
}

static void class_words(FILE *out, const char *what, const int64_t *cells, const nn_plan *plan, bool is_validation)
{
    fprintf(out, "      %s:", what);
    for (uint32_t c = 0; c < plan->n_classes; c++)
        fprintf(out, "%s %s %" PRId64, c ? "," : "", plan->classes[c],
                cells[nn_counts_cell_of(plan, c, is_validation)]);
    fputs("\n", out);
}

static void row_words(FILE *out, const coord_counts *c, const nn_plan *plan, uint32_t site)
{
    static const char *const images[] = {"1", "2", "3-4", "5-8", "more"};
    static const char *const contrast[] = {"none", "below 0.25", "below 0.5", "below 0.75", "more"};
    double variance;
    const int64_t *cells = cells_of(&variance, c, plan, site);
    const nn_counts_layout at = nn_counts_where(plan);
    fprintf(out, "    %s\n", site == c->n_sites ? "all together" : c->names[site]);
    for (uint32_t h = 0; h < at.n_histograms; h++) {
        const nn_auroc_interval r = auroc_of(cells, &at, h, variance);
        fprintf(out, "      AUROC of %s: ", plan->classes[nn_counts_class(plan, h)]);
        if (r.has_signal)
            fprintf(out, "%.3f, 95 %% interval %.3f to %.3f\n", r.value, r.low, r.high);
        else
            fprintf(out, "not enough signal: about %.0f with it and %.0f without, under this noise\n", r.positives,
                    r.negatives);
    }
    if (at.classes != UINT32_MAX) {
        class_words(out, "patients for training", cells, plan, false);
        class_words(out, "patients for validation", cells, plan, true);
    }
    if (at.images != UINT32_MAX) {
        counts_words(out, "patients by number of images", cells + at.images, images, NN_COUNTS_BUCKETS);
        counts_words(out, "patients by contrast of their images", cells + at.contrast, contrast, NN_COUNTS_BUCKETS);
    }
    fprintf(out, "      each count is within %.0f of the truth, 19 times out of 20\n", ceil(1.96 * sqrt(variance)));
}

fl_code coord_counts_words(FILE *out, coord_store *s, const nn_plan *plan, uint32_t last_round, fl_err *err)
{
    for (uint32_t round = last_round; round >= 1; round--) {
        coord_counts c;
        if (!nn_counts_in(plan, round))
            continue;
        FL_TRY(coord_counts_load(&c, s, plan, round, err));
        const bool is_it = c.n_sites > 0;
        if (is_it)
            fprintf(out,
                    "  metrics released in round %u, of the model that came into it; counts hold noise and may be "
                    "below 0\n",
                    round);
        for (uint32_t i = 0; is_it && i < c.n_sites; i++)
            row_words(out, &c, plan, i);
        if (is_it)
            row_words(out, &c, plan, c.n_sites);
        coord_counts_fini(&c);
        if (is_it)
            break;
    }
    return FL_OK;
}
