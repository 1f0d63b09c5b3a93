/* explain: where a model looks, as a picture over the film. */
#include "imaging/heat.h"
#include "imaging/resize.h"
#include "node/commands_parts.h"
#include "node/films.h"
#include "train/explain.h"
#include "train/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct explaining {
    fl_cli *cli;
    nn_model_file model;
    node_films films;
    img_image film;
    float *input, *probabilities;
    uint32_t class;
    nn_explain_method method;
    nn_explanation found;
} explaining;

static fl_code read_method(explaining *k, fl_err *err)
{
    static const char *const names[] = {
        [NN_EXPLAIN_AUTO] = "auto", [NN_EXPLAIN_GRADCAM] = "gradcam", [NN_EXPLAIN_OCCLUSION] = "occlusion"};
    const char *name = fl_cli_value(k->cli, "method");
    for (int m = 0; m < 3; m++) {
        k->method = (nn_explain_method)m;
        if (!name || strcmp(name, names[m]) == 0)
            return FL_OK;
    }
    return fl_fail(err, FL_EFORMAT, "--method: \"%.20s\" is none of auto, gradcam, occlusion", name);
}

/* By name in any case, or number; default: the largest probability. */
static fl_code choose_class(explaining *k, fl_err *err)
{
    const nn_facts *f = &k->model.facts;
    const char *name = fl_cli_value(k->cli, "class");
    char number[16];
    for (uint32_t c = 0; c < f->n_classes; c++) {
        snprintf(number, sizeof number, "%u", c);
        if (name ? strcasecmp(name, f->classes[c]) == 0 || strcmp(name, number) == 0
                 : k->probabilities[c] > k->probabilities[k->class]) {
            k->class = c;
            if (name)
                return FL_OK;
        }
    }
    return name ? fl_fail(err, FL_EFORMAT, "--class: the model has no class \"%.40s\"", name) : FL_OK;
}

static fl_code read_film(explaining *k, fl_err *err)
{
    fl_err reason = {0};
    fl_cli *cli = k->cli;
    struct stat st;
    if (stat(cli->args[0], &st) == 0 && S_ISDIR(st.st_mode))
        return fl_fail(err, FL_EFORMAT, "explain: one image at a time, and this is a folder");
    FL_TRY(node_films_open(&k->films, cli->args, 1, NULL, fl_cli_value(cli, "allow"), err));
    fl_code rc = node_films_read(&k->films, 0, &k->film, &reason);
    return rc ? fl_fail(err, rc, "%s: %s", k->films.files.list[0].path, reason.text) : FL_OK;
}

static fl_code run(explaining *k, fl_err *err)
{
    const nn_facts *f = &k->model.facts;
    const nn_shape s = f->input;
    nn_workspace *ws = NULL;
    k->input = malloc((size_t)s.C * s.H * s.W * sizeof *k->input);
    k->probabilities = calloc(f->n_classes, sizeof *k->probabilities);
    if (!k->input || !k->probabilities)
        return fl_fail(err, FL_EENV, "explain: out of memory");
    img_resize(k->input, s.C, s.H, s.W, &k->film);
    FL_TRY(nn_workspace_create(&ws, k->model.model, err));
    nn_forward(k->model.model, ws, k->model.w, k->probabilities, k->input);
    nn_workspace_destroy(ws);
    nn_probabilities(k->probabilities, k->model.model, k->probabilities);
    FL_TRY(choose_class(k, err));
    return nn_explain(&k->found, k->model.model, k->model.w, k->input, k->class, k->method,
                      fl_cli_value(k->cli, "layer"), err);
}

static fl_code draw(explaining *k, fl_err *err)
{
    img_picture picture;
    FL_TRY(img_heat_draw(&picture, &k->film, k->found.map, k->found.H, k->found.W, err));
    fl_code rc = img_png_write(fl_cli_value(k->cli, "o"), &picture, err);
    img_picture_fini(&picture);
    return rc;
}

/* ---- telling ---------------------------------------------------------------------------------------------------------- */

static const char *method_words(const explaining *k)
{
    return k->found.method == NN_EXPLAIN_GRADCAM ? "Grad-CAM" : "occlusion";
}

static float largest(const nn_explanation *e, size_t *where)
{
    *where = 0;
    for (size_t i = 1; i < (size_t)e->H * e->W; i++)
        *where = e->map[i] > e->map[*where] ? i : *where;
    return e->map[*where];
}

static void tell_text(const explaining *k)
{
    const nn_facts *f = &k->model.facts;
    const nn_explanation *e = &k->found;
    FILE *out = k->cli->out;
    size_t where;
    const float most = largest(e, &where);
    node_print_path(out, k->films.files.list[0].path);
    fprintf(out, ": %s %.4f\n", f->classes[k->class], k->probabilities[k->class]);
    if (e->method == NN_EXPLAIN_GRADCAM)
        fprintf(out, "Grad-CAM at layer %s, %u x %u\n", e->layer, e->H, e->W);
    else
        fputs("occlusion: how much the score falls when a grey square covers the place\n", out);
    if (most > 0)
        fprintf(out, "largest %.3g at %.0f %% from the left, %.0f %% from above\n", (double)most,
                100 * ((double)(where % e->W) + 0.5) / e->W, 100 * ((double)(where / e->W) + 0.5) / e->H);
    else
        fprintf(out, "nothing in this image speaks for %s: the film is shown without colour\n", f->classes[k->class]);
    fprintf(out,
            "%s: the film; the film under the map; the colours from 0 to the largest value, lines at 1/2 and 4/5\n"
            "it shows what the model's number hangs on, not where a disease is\n",
            fl_cli_value(k->cli, "o"));
}

static fl_json *map_json(const nn_explanation *e)
{
    fl_json *rows = fl_json_array();
    for (uint32_t y = 0; y < e->H; y++) {
        fl_json *row = fl_json_array();
        for (uint32_t x = 0; x < e->W; x++)
            fl_json_push_real(row, e->map[(size_t)y * e->W + x]);
        fl_json_push(rows, row);
    }
    return rows;
}

static void tell_json(const explaining *k)
{
    const nn_facts *f = &k->model.facts;
    fl_json *j = fl_json_object(), *all = fl_json_array();
    for (uint32_t c = 0; c < f->n_classes; c++)
        fl_json_push_real(all, k->probabilities[c]);
    fl_json_set(j, "model", node_model_json(&k->model));
    fl_json_set_text(j, "file", k->films.files.list[0].path);
    fl_json_set_text(j, "class", f->classes[k->class]);
    fl_json_set_real(j, "probability", k->probabilities[k->class]);
    fl_json_set(j, "probabilities", all);
    fl_json_set_text(j, "method", method_words(k));
    if (k->found.layer[0])
        fl_json_set_text(j, "layer", k->found.layer);
    fl_json_set(j, "map", map_json(&k->found));
    fl_json_set_text(j, "picture", fl_cli_value(k->cli, "o"));
    (void)node_print_json(k->cli, j);
}

int node_explain_command(fl_cli *cli)
{
    fl_err err = {0};
    explaining k = {.cli = cli};
    fl_code rc = read_method(&k, &err);
    if (rc == FL_OK)
        rc = node_model_open(&k.model, fl_cli_value(cli, "model"), &err);
    if (rc == FL_OK)
        rc = read_film(&k, &err);
    if (rc == FL_OK)
        rc = run(&k, &err);
    if (rc == FL_OK)
        rc = draw(&k, &err);
    if (rc == FL_OK && fl_cli_flag(cli, "json"))
        tell_json(&k);
    else if (rc == FL_OK)
        tell_text(&k);
    const int code = rc ? fl_cli_fail(cli, &err) : 0;
    nn_explanation_fini(&k.found);
    free(k.input);
    free(k.probabilities);
    img_image_fini(&k.film);
    node_films_close(&k.films);
    nn_model_file_close(&k.model);
    return code;
}
