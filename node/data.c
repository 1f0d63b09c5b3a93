#include "node/data.h"

#include "crypto/csprng.h" /* fl_wipe */
#include "crypto/hash.h"
#include "imaging/image.h"
#include "node/data_rows.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char node_data_schema[] =
    "CREATE TABLE IF NOT EXISTS image(id INTEGER PRIMARY KEY, dataset TEXT NOT NULL, patient BLOB NOT NULL, sop BLOB,"
    " file BLOB NOT NULL, object BLOB NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, bits INTEGER NOT NULL,"
    " low INTEGER NOT NULL, high INTEGER NOT NULL, label TEXT NOT NULL, split INTEGER NOT NULL, modality TEXT NOT NULL,"
    " body_part TEXT NOT NULL, view TEXT NOT NULL, laterality TEXT NOT NULL, UNIQUE(dataset, file, patient));"
    "CREATE INDEX IF NOT EXISTS image_patient ON image(dataset, patient);"
    "CREATE INDEX IF NOT EXISTS image_sop ON image(dataset, sop);"
    "CREATE INDEX IF NOT EXISTS image_object ON image(object);"
    "CREATE TABLE IF NOT EXISTS refused(dataset TEXT NOT NULL, file BLOB NOT NULL, reason TEXT NOT NULL,"
    " PRIMARY KEY(dataset, file));"
    /* objects whose rows were deleted in a committed transaction: removed behind it, also after a crash */
    "CREATE TABLE IF NOT EXISTS orphan(object BLOB PRIMARY KEY);";

static const char *const split_names[] = {"train", "val", "test"};

const char *node_split_name(node_split split)
{
    assert(split < NODE_N_SPLITS);
    return split_names[split];
}

/* ---- keyed names ------------------------------------------------------------------------------------------------ */

fl_hash node_keyed(const uint8_t key[32], const char *tag, const void *bytes, size_t n)
{
    uint8_t message[96];
    size_t n_tag = strlen(tag) + 1;
    assert(n_tag + n <= sizeof message);
    memcpy(message, tag, n_tag); /* with its 0 */
    memcpy(message + n_tag, bytes, n);
    return fl_hmac(key, message, n_tag + n);
}

node_split node_split_of(const uint8_t key[32], const uint8_t patient[32])
{
    fl_hash h = node_keyed(key, "cordon split", patient, 32);
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | h.bytes[i];
    value %= 100;
    return value < 70 ? NODE_SPLIT_TRAIN : value < 85 ? NODE_SPLIT_VAL : NODE_SPLIT_TEST;
}

/* ---- pixel objects ---------------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

fl_code node_pixels_put(fl_objects *objects, fl_hash *hash, const img_image *image, fl_err *err)
{
    size_t n_pixels = (size_t)image->width * image->height, size = NODE_PIXELS_HEADER + 2 * n_pixels;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return fl_fail(err, FL_EENV, "data: out of memory");
    memcpy(bytes, "CPX1", 4);
    put_u32(bytes + 4, image->width);
    put_u32(bytes + 8, image->height);
    put_u32(bytes + 12, image->bits);
    for (size_t i = 0; i < n_pixels; i++) {
        bytes[NODE_PIXELS_HEADER + 2 * i] = (uint8_t)image->pixels[i];
        bytes[NODE_PIXELS_HEADER + 2 * i + 1] = (uint8_t)(image->pixels[i] >> 8);
    }
    fl_code rc = fl_objects_put(objects, hash, bytes, size, err);
    free(bytes);
    return rc;
}

fl_code node_pixels_get(fl_objects *objects, const fl_hash *hash, fl_buf *scratch, node_pixels *out, fl_err *err)
{
    fl_buf_clear(scratch);
    FL_TRY(fl_objects_get(objects, scratch, hash, err));
    const uint8_t *b = scratch->bytes;
    if (scratch->size < NODE_PIXELS_HEADER || memcmp(b, "CPX1", 4) != 0)
        return fl_fail(err, FL_EENV, "data: an object in the store holds no pixels: restore a backup");
    out->width = get_u32(b + 4);
    out->height = get_u32(b + 8);
    out->bits = get_u32(b + 12);
    if (out->width < 1 || out->width > IMG_MAX_SIDE || out->height < 1 || out->height > IMG_MAX_SIDE ||
        scratch->size != NODE_PIXELS_HEADER + 2 * (size_t)out->width * out->height)
        return fl_fail(err, FL_EENV, "data: an image in the store has the wrong size: restore a backup");
    out->words = b + NODE_PIXELS_HEADER;
    return FL_OK;
}

/* ---- the ledger's DATASET --------------------------------------------------------------------------------------- */

enum { LEAF = 32 + 32 + 1 + 32 };

static int compare_leaf(const void *a, const void *b)
{
    return memcmp(a, b, LEAF);
}

static bool put_column(fl_buf *to, fl_query *q, int column)
{
    size_t n;
    const void *bytes = fl_column_blob(q, column, &n);
    if (n != 32)
        return false;
    fl_buf_add(to, bytes, n);
    return true;
}

static fl_code leaves(node_store *s, const char *dataset, fl_buf *out, size_t *n, fl_err *err)
{
    fl_query q;
    bool ok = true;
    FL_TRY(fl_query_open(&q, s->db, "SELECT patient, object, split, label FROM image WHERE dataset = ?", err));
    fl_bind_text(&q, 1, dataset);
    for (*n = 0; ok && fl_query_row(&q); ++*n) {
        ok = put_column(out, &q, 0) && put_column(out, &q, 1);
        uint8_t split = (uint8_t)fl_column_int(&q, 2);
        const char *label = fl_column_text(&q, 3);
        fl_hash text = fl_sha256(label, strlen(label));
        fl_buf_add(out, &split, 1);
        fl_buf_add(out, text.bytes, sizeof text.bytes);
    }
    FL_TRY(fl_query_close(&q, err));
    if (!ok)
        return fl_fail(err, FL_EENV, "node.db: a row of the data set is damaged: restore a backup");
    return fl_buf_check(out, "data set", err);
}

static fl_code commitment(node_store *s, const char *dataset, fl_hash *out, size_t *n, fl_err *err)
{
    static const char tag[] = "cordon dataset";
    fl_buf all;
    fl_buf_init(&all, (size_t)4 << 30);
    fl_buf_add(&all, tag, sizeof tag);
    fl_code rc = leaves(s, dataset, &all, n, err);
    if (rc == FL_OK) {
        qsort(all.bytes + sizeof tag, *n, LEAF, compare_leaf);
        *out = fl_hmac(s->pseudonym_key, all.bytes, all.size);
    }
    fl_buf_fini(&all);
    return rc;
}

fl_code node_data_commitment(node_store *s, const char *dataset, fl_hash *out, fl_err *err)
{
    size_t n;
    return commitment(s, dataset, out, &n, err);
}

static fl_code append_dataset(node_store *s, const char *dataset, const fl_hash *hash, uint32_t declared, fl_err *err)
{
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "data: out of memory");
    e->kind = DP_DATASET;
    snprintf(e->dataset, sizeof e->dataset, "%s", dataset);
    e->declared_patients = declared;
    dp_hash_text(e->commitment, hash);
    fl_code rc = led_append(s->ledger, e, err);
    free(e);
    return rc;
}

fl_code node_data_record(node_store *s, const char *dataset, bool *appended, fl_err *err)
{
    char key[16 + WIRE_NAME_MAX], old[128], new[128], hex[DP_HEX_SIZE];
    fl_hash hash;
    size_t n;
    *appended = false;
    const dp_policy *policy = dp_replay_policy(led_replay(s->ledger), dataset);
    if (!policy)
        return FL_OK;
    const uint32_t declared = policy->declared_patients;
    snprintf(key, sizeof key, "dataset.%s", dataset);
    FL_TRY(node_meta_get(s, key, old, sizeof old, err));
    FL_TRY(commitment(s, dataset, &hash, &n, err));
    dp_hash_text(hex, &hash);
    snprintf(new, sizeof new, "%s %" PRIu32, hex, declared);
    if (strcmp(old, new) == 0)
        return FL_OK;
    FL_TRY(append_dataset(s, dataset, &hash, declared, err));
    *appended = true;
    return node_meta_put(s, key, new, err);
}

/* ---- removing --------------------------------------------------------------------------------------------------- */

static fl_code next_orphan(node_store *s, fl_hash *object, bool *found, bool *used, fl_err *err)
{
    fl_query q;
    size_t n = 0;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT object, EXISTS(SELECT 1 FROM image WHERE image.object = orphan.object) FROM orphan"
                         " LIMIT 1",
                         err));
    *found = fl_query_row(&q);
    if (*found) {
        const void *bytes = fl_column_blob(&q, 0, &n);
        if (n == sizeof object->bytes)
            memcpy(object->bytes, bytes, n);
        *used = fl_column_int(&q, 1) != 0;
    }
    FL_TRY(fl_query_close(&q, err));
    return *found && n != sizeof object->bytes ? fl_fail(err, FL_EENV, "node.db: damaged: restore a backup") : FL_OK;
}

fl_code node_orphans_drop(node_store *s, fl_err *err)
{
    for (;;) {
        fl_hash object;
        fl_query q;
        bool found, used;
        FL_TRY(next_orphan(s, &object, &found, &used, err));
        if (!found)
            return FL_OK;
        if (!used)
            FL_TRY(fl_objects_remove(s->objects, &object, err));
        FL_TRY(fl_query_open(&q, s->db, "DELETE FROM orphan WHERE object = ?", err));
        fl_bind_blob(&q, 1, object.bytes, sizeof object.bytes);
        FL_TRY(fl_query_run(&q, err));
    }
}

static fl_code run_for_patient(node_store *s, const char *sql, const char *dataset, const uint8_t patient[32],
                               fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, sql, err));
    fl_bind_text(&q, 1, dataset);
    fl_bind_blob(&q, 2, patient, 32);
    return fl_query_run(&q, err);
}

fl_code node_patient_delete(node_store *s, const char *dataset, const uint8_t patient[32], uint32_t *n, fl_err *err)
{
    FL_TRY(run_for_patient(
        s, "INSERT OR IGNORE INTO orphan(object) SELECT object FROM image WHERE dataset = ? AND patient = ?", dataset,
        patient, err));
    FL_TRY(run_for_patient(s, "DELETE FROM image WHERE dataset = ? AND patient = ?", dataset, patient, err));
    *n = (uint32_t)fl_db_changes(s->db);
    return FL_OK;
}

void node_data_undo(node_store *s)
{
    fl_err err = {0};
    fl_db_rollback(s->db);
    if (led_reload(s->ledger, &err))
        fl_log(FL_ERROR, "ledger", "reload failed: %s", err.text);
}

fl_code node_data_remove(node_store *s, const char *dataset, const char *patient_id, const char *issuer,
                         uint32_t *n_removed, fl_err *err)
{
    uint8_t patient[32];
    bool appended;
    *n_removed = 0;
    img_hmac_patient_bytes(patient, s->pseudonym_key, patient_id, strlen(patient_id), issuer,
                           issuer ? strlen(issuer) : 0);
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = node_patient_delete(s, dataset, patient, n_removed, err);
    if (rc == FL_OK && *n_removed == 0)
        rc = fl_fail(err, FL_ENOTFOUND, "data set %.63s: has no such patient%s", dataset,
                     issuer ? "" : ": if the images name an issuer of the number, give --issuer");
    if (rc == FL_OK)
        rc = node_data_record(s, dataset, &appended, err);
    if (rc == FL_OK)
        rc = fl_db_commit(s->db, err);
    if (rc) {
        node_data_undo(s);
        *n_removed = 0;
        return rc;
    }
    return node_orphans_drop(s, err);
}
