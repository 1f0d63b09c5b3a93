#include "node/films.h"

#include "base/grow.h"
#include "crypto/csprng.h"
#include "imaging/resize.h"
#include "node/labels.h"
#include "train/predict.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "images: out of memory");
}

/* ---- which files ------------------------------------------------------------------------------------------------ */

typedef struct walk {
    node_film_list *l;
    const char *root, *except;
    bool is_folder, no_tables;
} walk;

static bool is_table(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && strcasecmp(path + n - 4, ".csv") == 0;
}

static fl_code keep_file(void *context, const char *path, fl_err *err)
{
    walk *w = context;
    node_film_list *l = w->l;
    char real[PATH_MAX];
    if (strstr(path + strlen(w->root), "/.")) {
        l->n_hidden++;
        return FL_OK;
    }
    if (!realpath(path, real))
        return FL_OK; /* gone since it was listed */
    if ((w->except && strcmp(real, w->except) == 0) || (w->no_tables && w->is_folder && is_table(path)))
        return FL_OK;
    if (!fl_grow(&l->list, &l->capacity, l->n, sizeof *l->list))
        return no_memory(err);
    node_film film = {.path = strdup(path), .real = strdup(real)};
    if (!film.path || !film.real) {
        free(film.path);
        free(film.real);
        return no_memory(err);
    }
    l->list[l->n++] = film;
    return FL_OK;
}

static int compare_base(const void *x, const void *y)
{
    const node_film *a = *(node_film *const *)x, *b = *(node_film *const *)y;
    return strcmp(node_base_name(a->real), node_base_name(b->real));
}

static fl_code mark_unique(node_film_list *l, fl_err *err)
{
    node_film **sorted = calloc(l->n + 1, sizeof *sorted);
    if (!sorted)
        return no_memory(err);
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = &l->list[i];
    qsort(sorted, l->n, sizeof *sorted, compare_base);
    for (size_t i = 0; i < l->n; i++)
        sorted[i]->base_is_unique = (i == 0 || compare_base(&sorted[i - 1], &sorted[i]) != 0) &&
                                    (i + 1 == l->n || compare_base(&sorted[i], &sorted[i + 1]) != 0);
    free(sorted);
    return FL_OK;
}

fl_code node_film_list_find(node_film_list *l, char *const *paths, size_t n_paths, const char *except, bool no_tables,
                            fl_err *err)
{
    for (size_t i = 0; i < n_paths; i++) {
        struct stat st;
        if (stat(paths[i], &st) != 0)
            return fl_fail(err, FL_ENOTFOUND, "%s: no such file or folder", paths[i]);
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
            return fl_fail(err, FL_EFORMAT, "%s: is neither a file nor a folder", paths[i]);
        walk w = {l, paths[i], except, S_ISDIR(st.st_mode), no_tables};
        FL_TRY(fl_dir_walk(paths[i], keep_file, &w, err));
    }
    return mark_unique(l, err);
}

void node_film_list_fini(node_film_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        free(l->list[i].path);
        free(l->list[i].real);
    }
    free(l->list);
    *l = (node_film_list){0};
}

void node_print_path(FILE *out, const char *path)
{
    for (; *path; path++)
        fputc((unsigned char)*path < 0x20 || *path == 0x7f ? '?' : *path, out);
}

const char *node_film_reason(const fl_err *e, const char *path)
{
    size_t n = strlen(path);
    return strlen(e->text) > n + 2 && e->text[n] == ':' ? e->text + n + 2 : "cannot be read as an image";
}

/* ---- reading, without a node ------------------------------------------------------------------------------------- */

static fl_code read_allow(unsigned *flags, const char *allow, fl_err *err)
{
    static const struct {
        const char *name;
        unsigned flag;
    } words[] = {
        {"burned_in", IMG_ALLOW_BURNED_IN}, {"ultrasound", IMG_ALLOW_ULTRASOUND}, {"capture", IMG_ALLOW_CAPTURE}};
    *flags = 0;
    while (allow && *allow) {
        const size_t n = strcspn(allow, ",");
        unsigned flag = 0;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (strlen(words[i].name) == n && memcmp(words[i].name, allow, n) == 0)
                flag = words[i].flag;
        if (!flag)
            return fl_fail(err, FL_EFORMAT, "--allow: \"%.*s\" is none of burned_in, ultrasound, capture",
                           n < 40 ? (int)n : 40, allow);
        *flags |= flag;
        allow += n + (allow[n] == ',');
    }
    return FL_OK;
}

fl_code node_films_open(node_films *f, char *const *paths, size_t n_paths, const char *except, const char *allow,
                        fl_err *err)
{
    unsigned flags;
    fl_csprng random;
    memset(f, 0, sizeof *f);
    FL_TRY(read_allow(&flags, allow, err));
    fl_code rc = node_film_list_find(&f->files, paths, n_paths, except, true, err);
    if (rc == FL_OK && f->files.n == 0)
        rc = fl_fail(err, FL_EFORMAT, "images: there are no files: name images, or a folder that holds some");
    if (rc == FL_OK) {
        fl_csprng_init(&random);
        fl_csprng_bytes(&random, f->key, sizeof f->key);
        fl_csprng_fini(&random);
        rc = img_decoder_open(&f->decoder, NULL, f->key, err);
    }
    if (rc == FL_OK)
        img_decoder_allow(f->decoder, flags);
    else
        node_films_close(f);
    return rc;
}

void node_films_close(node_films *f)
{
    if (!f)
        return;
    img_decoder_close(f->decoder);
    node_film_list_fini(&f->files);
    fl_wipe(f->key, sizeof f->key);
    f->decoder = NULL;
}

fl_code node_films_read(node_films *f, size_t i, img_image *out, fl_err *reason)
{
    const char *path = f->files.list[i].real;
    fl_err e = {0};
    *out = (img_image){0};
    if (access(path, R_OK) != 0)
        return fl_fail(reason, FL_EFORMAT, "cannot be opened: its rights do not let you read it");
    fl_code rc = img_decode_file(f->decoder, out, path, &e);
    if (rc == FL_EENV || rc == FL_EBUSY)
        return fl_fail(reason, rc, "decoder: %s", node_film_reason(&e, path));
    return rc ? fl_fail(reason, rc == FL_EREFUSED ? rc : FL_EFORMAT, "%s", node_film_reason(&e, path)) : FL_OK;
}

/* ---- through a model ----------------------------------------------------------------------------------------------- */

fl_code node_film_batch_open(node_film_batch *b, const nn_model_file *model, fl_pool *pool, fl_err *err)
{
    const nn_shape s = model->facts.input;
    *b = (node_film_batch){.model = model, .pool = pool};
    FL_TRY(nn_dataset_init(&b->inputs, s.C, s.H, s.W, err));
    b->image = malloc(nn_dataset_image_size(&b->inputs) * sizeof *b->image);
    b->probabilities = malloc((size_t)NODE_FILM_BATCH * model->facts.n_classes * sizeof *b->probabilities);
    if (b->image && b->probabilities)
        return FL_OK;
    node_film_batch_close(b);
    return no_memory(err);
}

void node_film_batch_close(node_film_batch *b)
{
    if (!b)
        return;
    nn_dataset_fini(&b->inputs);
    free(b->image);
    free(b->probabilities);
    *b = (node_film_batch){0};
}

fl_code node_film_batch_add(node_film_batch *b, const img_image *image, fl_err *err)
{
    const uint8_t nobody[32] = {0};
    const uint32_t label = 0;
    assert(b->inputs.n_images < NODE_FILM_BATCH);
    img_resize(b->image, b->inputs.channels, b->inputs.height, b->inputs.width, image);
    return nn_dataset_append_patient(&b->inputs, nobody, b->image, &label, 1, err);
}

fl_code node_film_batch_run(node_film_batch *b, fl_err *err)
{
    fl_code rc = nn_predict(b->probabilities, b->model->model, b->model->w, &b->inputs, b->pool, err);
    b->inputs.n_images = b->inputs.n_patients = 0;
    return rc;
}

fl_code node_model_open(nn_model_file *f, const char *path, fl_err *err)
{
    FL_TRY(nn_model_file_open(f, path, err));
    const nn_aim aim = {.learn = "all", .loss = f->facts.is_multi ? NN_LOSS_BINARY : NN_LOSS_SOFTMAX};
    fl_code rc = nn_model_aim(f->model, &aim, err);
    if (rc)
        nn_model_file_close(f);
    return rc;
}
