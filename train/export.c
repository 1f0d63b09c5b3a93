#include "train/export.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "train/onnx.h"
#include "train/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {[NN_EXPORT_SAFETENSORS] = "safetensors", [NN_EXPORT_ONNX] = "onnx"};

fl_code nn_export_format_named(nn_export_format *out, const char *name, fl_err *err)
{
    for (nn_export_format f = NN_EXPORT_SAFETENSORS; f <= NN_EXPORT_ONNX; f++) {
        if (strcmp(names[f], name) == 0) {
            *out = f;
            return FL_OK;
        }
    }
    return fl_fail(err, FL_EFORMAT, "%.40s: expected safetensors or onnx", name);
}

/* Both under other names first. A rename of what is on the disk already does not run out of room. */
static fl_code put_both(const char *path, const fl_buf *file, const fl_buf *card, fl_err *err)
{
    char card_path[FL_PATH_MAX], file_new[FL_PATH_MAX], card_new[FL_PATH_MAX];
    if (strlen(path) + sizeof ".md.new.tmp" > sizeof card_new)
        return fl_fail(err, FL_EFORMAT, "%.64s...: path too long", path);
    snprintf(card_path, sizeof card_path, "%.*s.md", FL_PATH_MAX - 16, path);
    snprintf(file_new, sizeof file_new, "%.*s.new", FL_PATH_MAX - 16, path);
    snprintf(card_new, sizeof card_new, "%.*s.md.new", FL_PATH_MAX - 16, path);
    fl_code rc = fl_file_write(file_new, file->bytes, file->size, 0644, err);
    if (rc == FL_OK)
        rc = fl_file_write(card_new, card->bytes, card->size, 0644, err);
    if (rc == FL_OK)
        rc = fl_file_move(card_new, card_path, err);
    if (rc == FL_OK)
        rc = fl_file_move(file_new, path, err);
    if (rc != FL_OK) {
        unlink(file_new);
        unlink(card_new);
    }
    return rc;
}

fl_code nn_export_save_bytes(const char *path, const char *format, const fl_buf *bytes, const nn_card *card,
                             fl_err *err)
{
    const char *slash = strrchr(path, '/');
    nn_card whole = *card;
    whole.file = slash ? slash + 1 : path;
    whole.format = format;
    whole.hash = fl_sha256(bytes->bytes, bytes->size);
    fl_buf text;
    fl_buf_init(&text, (size_t)1 << 20);
    nn_card_write(&text, &whole);
    fl_code rc = fl_buf_check(&text, "model card", err);
    if (rc == FL_OK)
        rc = put_both(path, bytes, &text, err);
    fl_buf_fini(&text);
    return rc;
}

static fl_code make(fl_buf *out, nn_export_format format, const float *w, const nn_facts *facts, fl_err *err)
{
    nn_model *m;
    if (format == NN_EXPORT_ONNX)
        return nn_onnx_write(out, w, facts, err);
    FL_TRY(nn_model_create(&m, facts->spec, facts->input.C, facts->input.H, facts->input.W, facts->n_classes, err));
    fl_code rc = nn_safetensors_write(out, m, w, facts, err);
    nn_model_destroy(m);
    return rc;
}

fl_code nn_export_save(const char *path, nn_export_format format, const float *w, const nn_card *card, fl_err *err)
{
    fl_buf bytes;
    nn_facts *facts = malloc(sizeof *facts);
    if (!facts)
        return fl_fail(err, FL_EENV, "export: no memory left");
    nn_facts_of(facts, card->plan, card->round);
    fl_buf_init(&bytes, NN_EXPORT_MAX);
    fl_code rc = make(&bytes, format, w, facts, err);
    if (rc == FL_OK)
        rc = nn_export_save_bytes(path, names[format], &bytes, card, err);
    fl_buf_fini(&bytes);
    free(facts);
    return rc;
}
