/* The kinds of layers, and what their readers share. */
#include "train/layer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS(kind) &kind,
static const nn_layer_kind *const kinds[] = {NN_LAYER_KINDS(ADDRESS)};

void nn_layer_kind_list(char *names, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && n < size; i++)
        n += (size_t)snprintf(names + n, size - n, "%s%s", i > 0 ? ", " : "", kinds[i]->name);
}

const nn_layer_kind *nn_layer_kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    }
    return NULL;
}

/* Digits up to `end`, at most 9 of them. */
static bool read_number(uint32_t *out, const char *digits, const char *end)
{
    uint32_t value = 0;
    if (digits == end || end - digits > 9)
        return false;
    for (const char *c = digits; c < end; c++) {
        if (*c < '0' || *c > '9')
            return false;
        value = value * 10 + (uint32_t)(*c - '0');
    }
    *out = value;
    return true;
}

fl_code nn_spec_number(uint32_t *out, const char *word, const char *what, uint32_t min, uint32_t max, fl_err *err)
{
    uint32_t value;
    if (!word)
        return fl_fail(err, FL_EFORMAT, "%s is missing", what);
    if (!read_number(&value, word, word + strlen(word)) || value < min || value > max)
        return fl_fail(err, FL_EFORMAT, "%s is %.20s, expected %u to %u", what, word, min, max);
    *out = value;
    return FL_OK;
}

fl_code nn_spec_pair(uint32_t *a, uint32_t *b, const char *word, const char *what, uint32_t min, uint32_t max,
                     fl_err *err)
{
    if (!word)
        return fl_fail(err, FL_EFORMAT, "%s is missing", what);
    const char *cross = strchr(word, 'x'), *end = word + strlen(word);
    uint32_t first = 0, second = 0;
    bool ok = read_number(&first, word, cross ? cross : end);
    if (ok && cross)
        ok = read_number(&second, cross + 1, end);
    else
        second = first;
    if (!ok || first < min || first > max || second < min || second > max)
        return fl_fail(err, FL_EFORMAT, "%s is %.20s, expected a number or HxW, each %u to %u", what, word, min, max);
    *a = first;
    *b = second;
    return FL_OK;
}

fl_code nn_spec_fraction(double *out, const char *word, const char *what, fl_err *err)
{
    if (!word)
        return fl_fail(err, FL_EFORMAT, "%s is missing", what);
    size_t n = strspn(word, "0123456789.");
    char *end;
    double value = n > 0 && n < 20 && word[n] == '\0' ? strtod(word, &end) : -1;
    if (!(value >= 0 && value < 1) || *end != '\0')
        return fl_fail(err, FL_EFORMAT, "%s is %.20s, expected a number from 0 to below 1", what, word);
    *out = value;
    return FL_OK;
}

fl_code nn_spec_nothing(nn_layer *l, const nn_spec_line *line, fl_err *err)
{
    (void)l;
    if (line->n_words > 0)
        return fl_fail(err, FL_EFORMAT, "nothing may follow, found %.20s", line->words[0]);
    return FL_OK;
}

fl_code nn_same_shape(nn_layer *l, fl_err *err)
{
    (void)err;
    l->out = l->in;
    return FL_OK;
}

void nn_map_clear_padding(const nn_map *m)
{
    for (uint32_t i = 0; m->cs > m->C && i < m->H; i++) {
        for (uint32_t j = 0; j < m->W; j++)
            memset(nn_map_pixel(m, i, j) + m->C, 0, (m->cs - m->C) * sizeof(float));
    }
}

void nn_map_clear(const nn_map *m)
{
    for (uint32_t i = 0; i < m->H; i++)
        memset(nn_map_pixel(m, i, 0), 0, (size_t)m->W * m->cs * sizeof(float));
}

void nn_fill_uniform(float *w, size_t n, double bound, fl_rng *rng)
{
    fl_rng_uniforms(rng, w, n, bound);
}

#define LANES 8

static double total(const double lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

double nn_sum(const float *x, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += x[i + j];
    }
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += x[i];
    return total(lane);
}

double nn_sum_squares(const float *x, size_t n, double around)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (x[i + j] - around) * (x[i + j] - around);
    }
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += (x[i] - around) * (x[i] - around);
    return total(lane);
}

double nn_sum_products(const float *x, const float *y, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * y[i + j];
    }
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * y[i];
    return total(lane);
}
