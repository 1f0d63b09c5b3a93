#include "train/spec.h"
#include "crypto/hash.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line as it was written; the words point into the text. */
typedef struct source {
    nn_spec_line line;
    const char *kind, *from, *other;
    char name[NN_MAX_NAME];
    uint32_t number;
    bool has_name;
} source;

/* What stands before a message: the layer's number, name and kind. */
static fl_code fail_at(const source *sources, uint32_t i, fl_err *err, fl_code rc, const char *shapes,
                       const char *cause)
{
    const source *s = &sources[i];
    return fl_fail(err, rc, "layer %u%s%s (%.20s%s): %s", i + 1, s->has_name ? " " : "", s->has_name ? s->name : "",
                   s->kind, shapes, cause);
}

/* --- lines ----------------------------------------------------------------------------------------------------- */

static bool is_name(const char *text)
{
    size_t n = strlen(text);
    return n >= 1 && n < NN_MAX_NAME && strcmp(text, "image") != 0 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* Takes `as NAME` and `from NAME` off the end of the line. */
static fl_code take_names(source *s, fl_err *err)
{
    nn_spec_line *line = &s->line;
    for (; line->n_words >= 2; line->n_words -= 2) {
        const char *word = line->words[line->n_words - 2], *name = line->words[line->n_words - 1];
        bool is_as = strcmp(word, "as") == 0;
        if (!is_as && strcmp(word, "from") != 0)
            break;
        if (is_as ? s->has_name : s->from != NULL)
            return fl_fail(err, FL_EFORMAT, "%s stands twice", word);
        if (is_as && !is_name(name))
            return fl_fail(err, FL_EFORMAT,
                           "%.60s is no name: 1 to %d letters, digits, dots, - or _, and not the word image", name,
                           NN_MAX_NAME - 1);
        if (is_as) {
            snprintf(s->name, sizeof s->name, "%s", name);
            s->has_name = true;
        } else {
            s->from = name;
        }
    }
    const char *last = line->n_words > 0 ? line->words[line->n_words - 1] : "";
    if (strcmp(last, "as") == 0 || strcmp(last, "from") == 0)
        return fl_fail(err, FL_EFORMAT, "a name must follow %s", last);
    return FL_OK;
}

static fl_code split_line(source *s, char *text, uint32_t index, fl_err *err)
{
    char *rest = NULL;
    s->kind = strtok_r(text, " \t\r", &rest);
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest)) != NULL;) {
        if (s->line.n_words == NN_MAX_WORDS)
            return fl_fail(err, FL_EFORMAT, "too many words");
        s->line.words[s->line.n_words++] = word;
    }
    snprintf(s->name, sizeof s->name, "%u", index);
    return take_names(s, err);
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r")] == '\0';
}

static fl_code split_text(source *sources, uint32_t *n, char *text, uint32_t n_classes, fl_err *err)
{
    uint32_t number = 1;
    *n = 0;
    for (char *line = text; line; number++) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        line[strcspn(line, "#")] = '\0';
        if (!is_blank(line)) {
            if (*n == NN_MAX_LAYERS)
                return fl_fail(err, FL_EFORMAT, "more than %d layers", NN_MAX_LAYERS);
            source *s = &sources[*n];
            *s = (source){.line = {.n_classes = n_classes}, .number = number};
            fl_err cause = {0};
            fl_code rc = split_line(s, line, *n, &cause);
            if (rc != FL_OK)
                return fail_at(sources, *n, err, rc, "", cause.text);
            ++*n;
        }
        line = end ? end + 1 : NULL;
    }
    return *n > 0 ? FL_OK : fl_fail(err, FL_EFORMAT, "model: no layers");
}

/* --- the graph ------------------------------------------------------------------------------------------------- */

/* The layer that line i means by a name; -1 is the image. */
static fl_code find_input(int32_t *out, const source *sources, uint32_t n, uint32_t i, const char *name, fl_err *err)
{
    if (strcmp(name, "image") == 0) {
        *out = -1;
        return FL_OK;
    }
    for (uint32_t j = 0; j < n; j++) {
        if (strcmp(sources[j].name, name) != 0)
            continue;
        if (j >= i)
            return fl_fail(err, FL_EFORMAT, "its input %s is %s: an input is an output of a line above", name,
                           j == i ? "its own output" : "a later line");
        *out = (int32_t)j;
        return FL_OK;
    }
    return fl_fail(err, FL_EFORMAT, "its input %.60s is no layer's name", name);
}

/* kind, n_inputs and from of layer i */
static fl_code connect(nn_layer *l, source *sources, uint32_t n, uint32_t i, fl_err *err)
{
    source *s = &sources[i];
    l->kind = nn_layer_kind_named(s->kind);
    if (!l->kind) {
        char names[300];
        nn_layer_kind_list(names, sizeof names);
        return fl_fail(err, FL_EFORMAT, "unknown kind, expected one of %s", names);
    }
    for (uint32_t j = 0; j < i; j++) {
        if (strcmp(sources[j].name, s->name) == 0)
            return fl_fail(err, FL_EFORMAT, "layer %u has the name %s already", j + 1, s->name);
    }
    l->n_inputs = l->kind->has_two_inputs ? 2 : 1;
    l->from[0] = (int32_t)i - 1;
    l->from[1] = -1;
    if (s->from)
        FL_TRY(find_input(&l->from[0], sources, n, i, s->from, err));
    if (l->n_inputs == 1)
        return FL_OK;
    if (s->line.n_words == 0)
        return fl_fail(err, FL_EFORMAT, "the name of its second input is missing");
    s->other = s->line.words[0];
    memmove(s->line.words, s->line.words + 1, --s->line.n_words * sizeof s->line.words[0]);
    return find_input(&l->from[1], sources, n, i, s->other, err);
}

static nn_shape shape_of(const nn_spec *s, int32_t layer)
{
    return layer < 0 ? s->input : s->layers[layer].out;
}

static fl_code place(nn_spec *s, nn_layer *l, fl_err *err)
{
    FL_TRY(l->kind->infer(l, err));
    uint64_t n_out = (uint64_t)l->out.C * l->out.H * l->out.W;
    if (n_out > NN_MAX_VALUES || l->n_kept > NN_MAX_VALUES || l->n_scratch > NN_MAX_VALUES ||
        s->n_values + n_out + l->n_kept > NN_MAX_VALUES)
        return fl_fail(err, FL_EFORMAT, "needs more than %u values for one image", NN_MAX_VALUES);
    if (l->n_weights > NN_MAX_WEIGHTS || s->n_weights + l->n_weights > NN_MAX_WEIGHTS)
        return fl_fail(err, FL_EFORMAT, "more than %u weights", NN_MAX_WEIGHTS);
    l->n_out = (size_t)n_out;
    l->weights_at = s->n_weights;
    s->n_weights += l->n_weights;
    s->n_values += n_out + l->n_kept;
    s->flops += l->flops;
    return FL_OK;
}

static fl_code add_layer(nn_spec *s, source *sources, uint32_t n, fl_err *err)
{
    uint32_t i = s->n_layers;
    nn_layer *l = &s->layers[i];
    *l = (nn_layer){.line = sources[i].number, .stride = 1, .groups = 1};
    snprintf(l->name, sizeof l->name, "%s", sources[i].name);
    fl_err cause = {0};
    fl_code rc = connect(l, sources, n, i, &cause);
    if (rc != FL_OK)
        return fail_at(sources, i, err, rc, "", cause.text);
    l->in = shape_of(s, l->from[0]);
    l->n_in = (size_t)l->in.C * l->in.H * l->in.W;
    char shapes[100];
    snprintf(shapes, sizeof shapes, ", input%s %ux%ux%u", l->n_inputs == 2 ? "s" : "", l->in.C, l->in.H, l->in.W);
    if (l->n_inputs == 2) {
        size_t at = strlen(shapes);
        l->other = shape_of(s, l->from[1]);
        snprintf(shapes + at, sizeof shapes - at, " and %ux%ux%u", l->other.C, l->other.H, l->other.W);
    }
    rc = l->kind->read(l, &sources[i].line, &cause);
    if (rc == FL_OK)
        rc = place(s, l, &cause);
    if (rc != FL_OK)
        return fail_at(sources, i, err, rc, shapes, cause.text);
    s->n_layers++;
    return FL_OK;
}

/* --- the whole ------------------------------------------------------------------------------------------------- */

static fl_code check_whole(const nn_spec *s, const source *sources, fl_err *err)
{
    bool is_used[NN_MAX_LAYERS] = {false};
    const nn_layer *last = &s->layers[s->n_layers - 1];
    if (last->n_out != s->n_classes)
        return fl_fail(err, FL_EFORMAT, "layer %u (%s): gives %ux%ux%u values, expected one for each of %u classes",
                       s->n_layers, last->kind->name, last->out.C, last->out.H, last->out.W, s->n_classes);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const nn_layer *l = &s->layers[i];
        for (uint32_t k = 0; k < l->n_inputs; k++) {
            if (l->from[k] >= 0)
                is_used[l->from[k]] = true;
        }
    }
    for (uint32_t i = 0; i + 1 < s->n_layers; i++) {
        if (!is_used[i])
            return fail_at(sources, i, err, FL_EFORMAT, "",
                           "nobody uses its output: remove it, or name it in a later line");
    }
    if (s->n_weights == 0)
        return fl_fail(err, FL_EFORMAT, "model: no layer has weights");
    return FL_OK;
}

static void add_word(fl_sha256_state *state, const char *before, const char *word)
{
    if (!word)
        return;
    fl_sha256_add(state, before, strlen(before));
    fl_sha256_add(state, word, strlen(word));
}

/* Of the text without remarks and with one space between words, after the input's shape and the number of classes. */
static fl_hash hash_of(const nn_spec *s, const source *sources)
{
    char head[64];
    fl_sha256_state *state = fl_sha256_create();
    snprintf(head, sizeof head, "%ux%ux%u %u\n", s->input.C, s->input.H, s->input.W, s->n_classes);
    add_word(state, "", head);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const source *line = &sources[i];
        add_word(state, "", line->kind);
        add_word(state, " ", line->other);
        for (uint32_t k = 0; k < line->line.n_words; k++)
            add_word(state, " ", line->line.words[k]);
        add_word(state, " as ", line->has_name ? line->name : NULL);
        add_word(state, " from ", line->from);
        add_word(state, "\n", "");
    }
    return fl_sha256_destroy(state);
}

fl_code nn_spec_read(nn_spec *s, const char *text, nn_shape input, uint32_t n_classes, fl_err *err)
{
    *s = (nn_spec){.input = input, .n_classes = n_classes};
    uint32_t n = 0;
    char *copy = strdup(text);
    source *sources = calloc(NN_MAX_LAYERS, sizeof *sources);
    fl_code rc = copy && sources ? FL_OK : fl_fail(err, FL_EENV, "model: out of memory");
    if (rc == FL_OK)
        rc = split_text(sources, &n, copy, n_classes, err);
    while (rc == FL_OK && s->n_layers < n)
        rc = add_layer(s, sources, n, err);
    if (rc == FL_OK)
        rc = check_whole(s, sources, err);
    if (rc == FL_OK)
        s->hash = hash_of(s, sources);
    free(sources);
    free(copy);
    return rc;
}

/* --- tensors --------------------------------------------------------------------------------------------------- */

size_t nn_spec_n_tensors(const nn_spec *s)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->n_layers; i++)
        n += (s->layers[i].n_weights > s->layers[i].n_bias) + (s->layers[i].n_bias > 0);
    return n;
}

static nn_tensor tensor_of(const nn_layer *l, bool is_bias)
{
    size_t n_first = l->n_weights - l->n_bias;
    nn_tensor t = {.n_dims = 1};
    t.offset = l->weights_at + (is_bias ? n_first : 0);
    t.size = is_bias ? l->n_bias : n_first;
    t.dims[0] = (uint32_t)t.size;
    if (!is_bias && l->n_dims > 0) {
        t.n_dims = l->n_dims;
        memcpy(t.dims, l->dims, sizeof t.dims);
    }
    snprintf(t.name, sizeof t.name, "%s.%s", l->name, is_bias ? "bias" : "weight");
    return t;
}

nn_tensor nn_spec_tensor(const nn_spec *s, size_t index)
{
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const nn_layer *l = &s->layers[i];
        if (l->n_weights > l->n_bias && index-- == 0)
            return tensor_of(l, false);
        if (l->n_bias > 0 && index-- == 0)
            return tensor_of(l, true);
    }
    assert(!"index is below nn_spec_n_tensors");
    abort();
}
