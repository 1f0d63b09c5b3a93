#include "train/pretrained.h"
#include "train/tensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE_TEXT 96

typedef struct taking {
    const nn_model *model;
    const nn_tensors *file;
    const char *prefix; /* of every name in the file; "" */
    nn_channels channels;
    float *w;
    fl_buf *report;
    bool *is_used; /* by the file's tensors */
    size_t n_taken, n_taken_weights, n_different;
    char first[320]; /* a difference that is not allowed */
} taking;

/* --- the report ------------------------------------------------------------------------------------------------ */

static const char *shape_text(char text[SHAPE_TEXT], uint32_t n_dims, const uint32_t *dims)
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT, "%s", n_dims == 0 ? "one value" : "");
    for (uint32_t i = 0; i < n_dims && used < SHAPE_TEXT; i++)
        used += (size_t)snprintf(text + used, SHAPE_TEXT - used, "%s%" PRIu32, i ? "x" : "", dims[i]);
    return text;
}

static void say(taking *t, const char *name, const char *ours, const char *theirs, const char *what)
{
    if (!t->report)
        return;
    if (t->n_different++ == 0)
        fl_buf_printf(t->report, "%-40s  %-16s  %-16s  %s\n", "tensor", "the model's", "the file's", "");
    char clean[80]; /* names are somebody else's: what is not printable could speak to the terminal */
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof clean; n++)
        clean[n] = name[n] > 0x20 && name[n] < 0x7f ? name[n] : '?';
    clean[n] = 0;
    fl_buf_printf(t->report, "%-40s  %-16s  %-16s  %s\n", clean, ours, theirs, what);
}

/* A difference that a start may not have. */
static void say_missing(taking *t, const nn_tensor *tensor, const char *ours, const char *theirs, const char *what)
{
    say(t, tensor->name, ours, theirs, what);
    if (!t->first[0])
        snprintf(t->first, sizeof t->first, "%s is %s, the file's is %s", tensor->name, ours, theirs);
}

/* --- taking ---------------------------------------------------------------------------------------------------- */

static const nn_stored *find(const taking *t, const char *name)
{
    char whole[200];
    snprintf(whole, sizeof whole, "%s%s", t->prefix, name);
    return nn_tensors_find(t->file, whole);
}

static const char *common_prefix(const nn_tensors *file)
{
    static const char prefix[] = "module.";
    for (size_t i = 0; i < file->n; i++) {
        if (strncmp(file->list[i].name, prefix, sizeof prefix - 1) != 0)
            return "";
    }
    return prefix;
}

/* Is the tensor of the last layer that has weights? */
static bool is_head(const nn_model *m, const nn_tensor *tensor)
{
    const nn_tensor last = nn_model_tensor(m, nn_model_n_tensors(m) - 1);
    const char *dot = strrchr(last.name, '.');
    const size_t n = (size_t)(dot - last.name) + 1;
    return strncmp(last.name, tensor->name, n) == 0 && !strchr(tensor->name + n, '.');
}

static bool differs_in_classes_only(const nn_tensor *tensor, const nn_stored *s)
{
    return s->n_dims == tensor->n_dims && tensor->n_dims >= 1 &&
           memcmp(s->dims + 1, tensor->dims + 1, (tensor->n_dims - 1) * sizeof *s->dims) == 0;
}

/* (out, 3, kh, kw) for a model's (out, 1, kh, kw) */
static bool is_colour_for_grey(const taking *t, const nn_tensor *tensor, const nn_stored *s)
{
    return tensor->offset == nn_model_tensor(t->model, 0).offset && nn_model_input(t->model).C == 1 &&
           tensor->n_dims == 4 && tensor->dims[1] == 1 && s->n_dims == 4 && s->dims[0] == tensor->dims[0] &&
           s->dims[1] == 3 && s->dims[2] == tensor->dims[2] && s->dims[3] == tensor->dims[3];
}

/* w (out, kernel) = the sum over the 3 channels, in double */
static fl_code take_summed(taking *t, const nn_tensor *tensor, const nn_stored *s, fl_err *err)
{
    float *three = malloc(s->n_values * sizeof *three);
    if (!three)
        return fl_fail(err, FL_EENV, "no memory for the weights to start from");
    fl_code rc = nn_stored_floats(three, s, err);
    const size_t kernel = (size_t)tensor->dims[2] * tensor->dims[3];
    for (size_t i = 0; i < tensor->size && rc == FL_OK; i++) {
        const float *at = three + i / kernel * 3 * kernel + i % kernel;
        t->w[tensor->offset + i] = (float)((double)at[0] + at[kernel] + at[2 * kernel]);
    }
    free(three);
    return rc;
}

static fl_code take_tensor(taking *t, const nn_tensor *tensor, fl_err *err)
{
    char ours[SHAPE_TEXT], theirs[SHAPE_TEXT];
    const nn_stored *s = find(t, tensor->name);
    shape_text(ours, tensor->n_dims, tensor->dims);
    if (!s && is_head(t->model, tensor)) {
        say(t, tensor->name, ours, "missing", "the head: stays as it starts");
        return FL_OK;
    }
    if (!s) {
        say_missing(t, tensor, ours, "missing", "does not fit");
        return FL_OK;
    }
    t->is_used[s - t->file->list] = true;
    shape_text(theirs, s->n_dims, s->dims);
    fl_code rc = FL_OK;
    if (nn_stored_is(s, tensor->n_dims, tensor->dims)) {
        rc = nn_stored_floats(t->w + tensor->offset, s, err);
    } else if (is_colour_for_grey(t, tensor, s) && t->channels == NN_CHANNELS_REFUSE) {
        say_missing(t, tensor, ours, theirs, "does not fit: pretrained_channels is refuse");
        return FL_OK;
    } else if (is_colour_for_grey(t, tensor, s)) {
        say(t, tensor->name, ours, theirs, "summed over the three channels of the input");
        rc = take_summed(t, tensor, s, err);
    } else {
        if (is_head(t->model, tensor) && differs_in_classes_only(tensor, s))
            say(t, tensor->name, ours, theirs, "the head, of other classes: stays as it starts");
        else
            say_missing(t, tensor, ours, theirs, "does not fit");
        return FL_OK;
    }
    t->n_taken++;
    t->n_taken_weights += tensor->size;
    return rc;
}

static void say_unused(taking *t)
{
    for (size_t i = 0; i < t->file->n; i++) {
        const nn_stored *s = &t->file->list[i];
        char theirs[SHAPE_TEXT + 16], shape[SHAPE_TEXT];
        if (t->is_used[i])
            continue;
        snprintf(theirs, sizeof theirs, "%s %s", shape_text(shape, s->n_dims, s->dims), s->dtype_name);
        say(t, s->name, "-", theirs,
            strstr(s->name, "running_") ? "not used: the model has no batch normalisation" : "not used");
    }
}

static fl_code judge(const taking *t, fl_err *err)
{
    const size_t n = nn_model_n_tensors(t->model);
    if (t->report)
        fl_buf_printf(t->report, "%zu of the model's %zu tensors are taken, %zu of %zu weights.\n",
                      t->first[0] ? (size_t)0 : t->n_taken, n, t->first[0] ? (size_t)0 : t->n_taken_weights,
                      nn_model_n_weights(t->model));
    if (t->first[0])
        return fl_fail(err, FL_EREFUSED, "the weights do not fit the model: %s: the report has every difference",
                       t->first);
    if (t->n_taken == 0)
        return fl_fail(err, FL_EREFUSED,
                       "the weights do not fit the model: no tensor has a name and a shape of it: the report has them");
    return FL_OK;
}

static fl_code take_all(taking *t, fl_err *err)
{
    const size_t n = nn_model_n_tensors(t->model);
    t->prefix = common_prefix(t->file);
    for (size_t i = 0; i < n; i++) {
        nn_tensor tensor = nn_model_tensor(t->model, i);
        FL_TRY(take_tensor(t, &tensor, err));
    }
    say_unused(t);
    return judge(t, err);
}

fl_code nn_pretrained_take(float *w, const nn_model *m, nn_channels channels, const uint8_t *bytes, size_t n,
                           fl_buf *report, fl_err *err)
{
    nn_tensors file;
    const size_t n_weights = nn_model_n_weights(m);
    FL_TRY(nn_tensors_read(&file, bytes, n, err));
    taking t = {.model = m, .file = &file, .channels = channels, .report = report};
    t.is_used = calloc(file.n + 1, sizeof *t.is_used);
    t.w = malloc(n_weights * sizeof *t.w);
    fl_code rc = t.is_used && t.w ? FL_OK : fl_fail(err, FL_EENV, "no memory for the weights to start from");
    if (rc == FL_OK) {
        memcpy(t.w, w, n_weights * sizeof *w);
        rc = take_all(&t, err);
    }
    if (rc == FL_OK)
        memcpy(w, t.w, n_weights * sizeof *w);
    free(t.w);
    free(t.is_used);
    nn_tensors_fini(&file);
    return rc;
}
