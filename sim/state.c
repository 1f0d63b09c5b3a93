#include "sim/state.h"

#include "base/json.h"
#include "crypto/hash.h"
#include <stdio.h>
#include <string.h>

enum { RUN_MAX = 4096 };

bool sim_state_is_kept(const sim_state *s)
{
    return s->dir[0] != 0;
}

const char *sim_state_path(const sim_state *s, char out[FL_PATH_MAX], const char *a, const char *b, const char *c)
{
    char name[200];
    if (!sim_state_is_kept(s))
        return NULL;
    snprintf(name, sizeof name, "%s%s%s.%s", a, b ? "-" : "", b ? b : "", c);
    return fl_path(out, s->dir, name);
}

fl_code sim_state_put(const sim_state *s, const char *name, const fl_buf *bytes, fl_err *err)
{
    char path[FL_PATH_MAX];
    if (!sim_state_is_kept(s))
        return FL_OK;
    FL_TRY(fl_buf_check(bytes, name, err));
    return fl_file_write(fl_path(path, s->dir, name), bytes->bytes, bytes->size, 0600, err);
}

fl_code sim_state_get(const sim_state *s, const char *name, fl_buf *bytes, fl_err *err)
{
    char path[FL_PATH_MAX];
    if (!sim_state_is_kept(s))
        return fl_fail(err, FL_ENOTFOUND, "%s: nothing is kept", name);
    return fl_file_read(bytes, fl_path(path, s->dir, name), err);
}

/* ---- run.json ---------------------------------------------------------------------------------------------------- */

static fl_code write_run(const sim_state *s, fl_err *err)
{
    fl_buf text;
    fl_json *j = fl_json_object();
    fl_json_set_int(j, "version", 1);
    fl_json_set_text(j, "run", s->run);
    fl_json_set_text(j, "data", s->data);
    fl_buf_init(&text, RUN_MAX);
    fl_json_print(&text, j, 2);
    fl_code rc = sim_state_put(s, "run.json", &text, err);
    fl_buf_fini(&text);
    fl_json_free(j);
    return rc;
}

static bool copy_hex(char out[2 * FL_HASH_SIZE + 1], const char *text)
{
    const size_t n = text ? strlen(text) : 1;
    if ((n != 2 * FL_HASH_SIZE && n != 0) || strspn(text, "0123456789abcdef") != n)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

static fl_code read_run(sim_state *s, fl_err *err)
{
    fl_buf text;
    fl_json *j = NULL;
    int64_t version = 0;
    char run[2 * FL_HASH_SIZE + 1] = "";
    fl_buf_init(&text, RUN_MAX);
    fl_code rc = sim_state_get(s, "run.json", &text, err);
    if (rc == FL_OK)
        rc = fl_json_parse(&j, fl_buf_text(&text), text.size, "run.json", err);
    if (rc == FL_OK && (!fl_json_int(j, "version", &version) || version != 1 ||
                        !copy_hex(run, fl_json_text(j, "run")) || !copy_hex(s->data, fl_json_text(j, "data"))))
        rc = fl_fail(err, FL_EFORMAT, "%s: run.json is not one of this program: take another folder", s->dir);
    if (rc == FL_OK && strcmp(run, s->run) != 0)
        rc = fl_fail(err, FL_EREFUSED,
                     "%s: holds another run: another study, seed, folder of data or option: take another folder",
                     s->dir);
    fl_json_free(j);
    fl_buf_fini(&text);
    return rc;
}

fl_code sim_state_open(sim_state *s, const char *dir, const fl_hash *run, fl_err *err)
{
    char path[FL_PATH_MAX];
    memset(s, 0, sizeof *s);
    if (!dir)
        return FL_OK;
    if (strlen(dir) > FL_PATH_MAX - 400)
        return fl_fail(err, FL_EFORMAT, "--state: the path is too long");
    FL_TRY(fl_dir_make(dir, err));
    FL_TRY(fl_lock_take(&s->lock, dir, err));
    strcpy(s->dir, dir);
    fl_hex_encode(s->run, run->bytes, FL_HASH_SIZE);
    fl_code rc = fl_file_exists(fl_path(path, dir, "run.json")) ? read_run(s, err) : write_run(s, err);
    if (rc)
        sim_state_close(s);
    return rc;
}

void sim_state_close(sim_state *s)
{
    fl_lock_release(&s->lock);
    memset(s, 0, sizeof *s);
}

/* ---- the data ---------------------------------------------------------------------------------------------------- */

static void add_dataset(fl_sha256_state *sha, const nn_dataset *d)
{
    const uint32_t sizes[] = {d->channels, d->height, d->width, d->n_images, d->n_patients};
    fl_sha256_add(sha, sizes, sizeof sizes);
    fl_sha256_add(sha, d->patient_first, (d->n_patients + (size_t)1) * sizeof *d->patient_first);
    if (d->n_images == 0)
        return;
    fl_sha256_add(sha, d->patient_key, d->n_patients * sizeof *d->patient_key);
    fl_sha256_add(sha, d->labels, d->n_images * sizeof *d->labels);
    fl_sha256_add(sha, d->images, d->n_images * nn_dataset_image_size(d) * sizeof *d->images);
}

fl_code sim_state_data(sim_state *s, const sim_hospitals *h, fl_err *err)
{
    char hex[2 * FL_HASH_SIZE + 1];
    if (!sim_state_is_kept(s))
        return FL_OK;
    fl_sha256_state *sha = fl_sha256_create();
    for (uint32_t i = 0; i < h->n; i++) {
        fl_sha256_add(sha, h->list[i].name, strlen(h->list[i].name) + 1);
        fl_sha256_add(sha, &h->list[i].declared, sizeof h->list[i].declared);
        for (int k = 0; k < NODE_N_SPLITS; k++)
            add_dataset(sha, &h->list[i].split[k]);
    }
    const fl_hash hash = fl_sha256_destroy(sha);
    fl_hex_encode(hex, hash.bytes, FL_HASH_SIZE);
    if (s->data[0] && strcmp(s->data, hex) != 0)
        return fl_fail(err, FL_EREFUSED, "%s: the data are not those that the run began with: take another folder",
                       s->dir);
    if (s->data[0])
        return FL_OK;
    strcpy(s->data, hex);
    return write_run(s, err);
}
