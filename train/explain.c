#include "train/explain.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "explanation: out of memory");
}

/* ---- Grad-CAM ------------------------------------------------------------------------------------------------------ */

static bool has_map(const nn_layer_view *l)
{
    return (uint64_t)l->out.H * l->out.W > 1;
}

/* The last map that a convolution stands before; n_layers: none. */
static size_t last_map(const nn_model *m)
{
    const size_t n = nn_model_n_layers(m);
    size_t last = n;
    bool behind_conv = false;
    for (size_t i = 0; i < n; i++) {
        const nn_layer_view l = nn_model_layer(m, i);
        behind_conv |= strcmp(l.kind, "conv") == 0;
        if (behind_conv && has_map(&l))
            last = i;
    }
    return last;
}

static fl_code find_layer(size_t *layer, const nn_model *m, const char *name, fl_err *err)
{
    const size_t n = nn_model_n_layers(m);
    *layer = last_map(m);
    if (!name)
        return *layer < n
                   ? FL_OK
                   : fl_fail(err, FL_EREFUSED, "Grad-CAM: this model has no convolution with a map: use occlusion");
    for (size_t i = 0; i < n; i++) {
        const nn_layer_view l = nn_model_layer(m, i);
        if (strcmp(l.name, name) != 0)
            continue;
        *layer = i;
        return has_map(&l) ? FL_OK
                           : fl_fail(err, FL_EREFUSED, "Grad-CAM: layer %s (%s) has one pixel only: it is no map",
                                     l.name, l.kind);
    }
    if (*layer < n)
        return fl_fail(err, FL_EREFUSED, "Grad-CAM: no layer is called %.40s: the default is %s", name,
                       nn_model_layer(m, *layer).name);
    return fl_fail(err, FL_EREFUSED, "Grad-CAM: no layer is called %.40s", name);
}

/* The map from activations y and slopes (C, H, W). */
static void weigh(float *map, const float *y, const float *slope, nn_shape s)
{
    const size_t n = (size_t)s.H * s.W;
    memset(map, 0, n * sizeof *map);
    for (uint32_t k = 0; k < s.C; k++) {
        double alpha = 0;
        for (size_t i = 0; i < n; i++)
            alpha += slope[k * n + i];
        alpha /= (double)n;
        for (size_t i = 0; i < n; i++)
            map[i] += (float)(alpha * y[k * n + i]);
    }
    for (size_t i = 0; i < n; i++)
        map[i] = map[i] > 0 ? map[i] : 0;
}

static fl_code grad_cam(nn_explanation *out, const nn_model *m, nn_workspace *ws, const float *w, const float *image,
                        uint32_t class, size_t layer, fl_err *err)
{
    const nn_layer_view l = nn_model_layer(m, layer);
    const size_t n = (size_t)l.out.C * l.out.H * l.out.W;
    float *y = malloc(n * sizeof *y), *slope = malloc(n * sizeof *slope);
    out->method = NN_EXPLAIN_GRADCAM;
    out->H = l.out.H;
    out->W = l.out.W;
    out->map = malloc((size_t)out->H * out->W * sizeof *out->map);
    snprintf(out->layer, sizeof out->layer, "%s", l.name);
    fl_code rc = y && slope && out->map ? FL_OK : no_memory(err);
    if (rc == FL_OK)
        rc = nn_activation(y, slope, NULL, m, ws, w, image, layer, class, err);
    if (rc == FL_OK)
        weigh(out->map, y, slope, l.out);
    free(y);
    free(slope);
    return rc;
}

/* ---- occlusion ------------------------------------------------------------------------------------------------------- */

typedef struct occluder {
    const nn_model *m;
    nn_workspace *ws;
    const float *w;
    uint32_t class;
    float *image, *logits; /* image: a copy, for squares to be put on */
} occluder;

/* log-odds of the class under the softmax: y_c - log sum of the others' exp; bit sets: y_c */
static double score_of(const occluder *o)
{
    const uint32_t n = nn_model_n_classes(o->m);
    double largest = -INFINITY, sum = 0;
    nn_forward(o->m, o->ws, o->w, o->logits, o->image);
    if (nn_model_loss(o->m) == NN_LOSS_BINARY)
        return o->logits[o->class];
    for (uint32_t c = 0; c < n; c++)
        largest = c != o->class && o->logits[c] > largest ? o->logits[c] : largest;
    for (uint32_t c = 0; c < n; c++)
        sum += c != o->class ? exp(o->logits[c] - largest) : 0;
    return o->logits[o->class] - largest - log(sum);
}

static void set_square(float *to, const float *from, nn_shape s, uint32_t y, uint32_t x, uint32_t h, uint32_t w)
{
    for (uint32_t c = 0; c < s.C; c++)
        for (uint32_t i = y; i < y + h && i < s.H; i++)
            for (uint32_t j = x; j < x + w && j < s.W; j++) {
                const size_t at = ((size_t)c * s.H + i) * s.W + j;
                to[at] = from ? from[at] : 0;
            }
}

static uint32_t square_side(uint32_t side)
{
    return side >= 16 ? side / 8 : side >= 2 ? 2 : 1;
}

/* Squares begin at multiples of the step and may hang over the far borders: pixels lie in one to four of them. */
static void occlude(float *map, double *sum, double *count, occluder *o, const float *image, nn_shape s)
{
    const uint32_t h = square_side(s.H), w = square_side(s.W);
    const uint32_t down = h > 1 ? h / 2 : 1, across = w > 1 ? w / 2 : 1;
    const double whole = score_of(o);
    for (uint32_t y = 0; y < s.H; y += down) {
        for (uint32_t x = 0; x < s.W; x += across) {
            set_square(o->image, NULL, s, y, x, h, w);
            const double fall = whole - score_of(o);
            set_square(o->image, image, s, y, x, h, w);
            for (uint32_t i = y; i < y + h && i < s.H; i++)
                for (uint32_t j = x; j < x + w && j < s.W; j++) {
                    sum[(size_t)i * s.W + j] += fall;
                    count[(size_t)i * s.W + j]++;
                }
        }
    }
    for (size_t i = 0; i < (size_t)s.H * s.W; i++)
        map[i] = (float)(sum[i] / count[i]);
}

static fl_code occlusion(nn_explanation *out, const nn_model *m, nn_workspace *ws, const float *w, const float *image,
                         uint32_t class, fl_err *err)
{
    const nn_shape s = nn_model_input(m);
    const size_t n = (size_t)s.H * s.W;
    occluder o = {m, ws, w, class, malloc(s.C * n * sizeof(float)), malloc(nn_model_n_classes(m) * sizeof(float))};
    double *sum = calloc(n, sizeof *sum), *count = calloc(n, sizeof *count);
    out->method = NN_EXPLAIN_OCCLUSION;
    out->H = s.H;
    out->W = s.W;
    out->map = malloc(n * sizeof *out->map);
    fl_code rc = o.image && o.logits && sum && count && out->map ? FL_OK : no_memory(err);
    if (rc == FL_OK) {
        memcpy(o.image, image, s.C * n * sizeof *o.image);
        occlude(out->map, sum, count, &o, image, s);
    }
    free(o.image);
    free(o.logits);
    free(sum);
    free(count);
    return rc;
}

/* ---- either ---------------------------------------------------------------------------------------------------------- */

static fl_code check_finite(const nn_explanation *e, fl_err *err)
{
    for (size_t i = 0; i < (size_t)e->H * e->W; i++)
        if (!isfinite(e->map[i]))
            return fl_fail(err, FL_EREFUSED, "explanation: the model's values for this image are not finite");
    return FL_OK;
}

fl_code nn_explain(nn_explanation *out, const nn_model *m, const float *w, const float *image, uint32_t class,
                   nn_explain_method method, const char *layer, fl_err *err)
{
    size_t at = 0;
    nn_workspace *ws = NULL;
    *out = (nn_explanation){0};
    assert(class < nn_model_n_classes(m));
    if (method == NN_EXPLAIN_AUTO)
        method = layer || last_map(m) < nn_model_n_layers(m) ? NN_EXPLAIN_GRADCAM : NN_EXPLAIN_OCCLUSION;
    if (method == NN_EXPLAIN_OCCLUSION && layer)
        return fl_fail(err, FL_EREFUSED, "occlusion: looks at no layer: leave the layer out, or use Grad-CAM");
    fl_code rc = method == NN_EXPLAIN_GRADCAM ? find_layer(&at, m, layer, err) : FL_OK;
    if (rc == FL_OK)
        rc = nn_workspace_create(&ws, m, err);
    if (rc == FL_OK)
        rc = method == NN_EXPLAIN_GRADCAM ? grad_cam(out, m, ws, w, image, class, at, err)
                                          : occlusion(out, m, ws, w, image, class, err);
    if (rc == FL_OK)
        rc = check_finite(out, err);
    nn_workspace_destroy(ws);
    if (rc)
        nn_explanation_fini(out);
    return rc;
}

void nn_explanation_fini(nn_explanation *e)
{
    if (!e)
        return;
    free(e->map);
    *e = (nn_explanation){0};
}
