#include "train/checkpoint.h"
#include "base/encode.h"
#include "base/file.h"
#include "crypto/hash.h"
#include <string.h>

enum { HEAD = 48, PLAN_AT = 8 /* in the state */ };

static const char magic[8] = {'C', 'O', 'R', 'D', 'N', 'C', 'P', '1'};

void nn_checkpoint_wrap(fl_buf *out, const uint8_t *state, size_t n)
{
    uint8_t length[8];
    const fl_hash hash = fl_sha256(state, n);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    fl_buf_add(out, magic, sizeof magic);
    fl_buf_add(out, length, sizeof length);
    fl_buf_add(out, hash.bytes, sizeof hash.bytes);
    fl_buf_add(out, state, n);
}

/* More than any state: four doubles a weight. */
static size_t largest(size_t n_weights)
{
    return 4096 + 32 * n_weights;
}

fl_code nn_checkpoint_save(const char *path, const nn_server *s, fl_err *err)
{
    fl_buf state, file;
    fl_buf_init(&state, largest(s->n_weights));
    fl_buf_init(&file, largest(s->n_weights) + HEAD);
    fl_code rc = nn_server_write(&state, s, err);
    if (rc == FL_OK) {
        nn_checkpoint_wrap(&file, state.bytes, state.size);
        rc = fl_buf_check(&file, path, err);
    }
    if (rc == FL_OK)
        rc = fl_file_write(path, file.bytes, file.size, 0600, err);
    fl_buf_fini(&state);
    fl_buf_fini(&file);
    return rc;
}

static fl_code check_plan(const uint8_t *state, size_t n, const nn_plan *plan, fl_err *err)
{
    char theirs[13], ours[13];
    if (n < PLAN_AT + FL_HASH_SIZE || memcmp(state + PLAN_AT, plan->hash.bytes, FL_HASH_SIZE) == 0)
        return FL_OK; /* what is too short nn_server_read refuses */
    fl_hex_encode(theirs, state + PLAN_AT, 6);
    fl_hex_encode(ours, plan->hash.bytes, 6);
    return fl_fail(err, FL_EFORMAT, "checkpoint: is of plan %s..., this plan is %s...: give each study its own", theirs,
                   ours);
}

fl_code nn_checkpoint_read(nn_server *s, const nn_plan *plan, const uint8_t *bytes, size_t n, fl_err *err)
{
    uint64_t length = 0;
    *s = (nn_server){0};
    if (n < HEAD || memcmp(bytes, magic, sizeof magic - 1) != 0)
        return fl_fail(err, FL_EFORMAT, "checkpoint: is none of Cordon, or was cut at its start");
    if (bytes[7] != magic[7])
        return fl_fail(err, FL_EFORMAT,
                       "checkpoint: is of version %c, this program reads %c: use the program that wrote it",
                       bytes[7] > 0x20 && bytes[7] < 0x7f ? bytes[7] : '?', magic[7]);
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)bytes[8 + i] << (8 * i);
    if (length != n - HEAD)
        return fl_fail(err, FL_EFORMAT,
                       "checkpoint: has %zu bytes behind its head, not the %llu that it says: it was cut", n - HEAD,
                       (unsigned long long)length);
    const fl_hash hash = fl_sha256(bytes + HEAD, n - HEAD);
    if (memcmp(hash.bytes, bytes + 16, FL_HASH_SIZE) != 0)
        return fl_fail(err, FL_EFORMAT, "checkpoint: its bytes changed since it was written: take an older one");
    FL_TRY(check_plan(bytes + HEAD, n - HEAD, plan, err));
    return nn_server_read(s, plan, bytes + HEAD, n - HEAD, err);
}

fl_code nn_checkpoint_load(nn_server *s, const nn_plan *plan, const char *path, fl_err *err)
{
    fl_err unread;
    err = err ? err : &unread; /* messages are built in steps */
    fl_buf file;
    *s = (nn_server){0};
    fl_buf_init(&file, largest(plan->n_weights) + HEAD);
    fl_code rc = fl_file_read(&file, path, err);
    if (rc == FL_OK && (rc = nn_checkpoint_read(s, plan, file.bytes, file.size, err)) != FL_OK)
        rc = fl_fail_in(err, "%s", path);
    fl_buf_fini(&file);
    return rc;
}
