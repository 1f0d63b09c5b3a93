/* Between the files of node/data*.c. */
#ifndef NODE_DATA_ROWS_H
#define NODE_DATA_ROWS_H

#include "base/log.h"
#include "imaging/image.h"
#include "node/data.h"

/* HMAC-SHA-256(key, tag 0x00 bytes); n at most 64. */
fl_hash node_keyed(const uint8_t key[32], const char *tag, const void *bytes, size_t n);
/* 70/15/15. */
node_split node_split_of(const uint8_t key[32], const uint8_t patient[32]);

fl_code node_pixels_put(fl_objects *objects, fl_hash *hash, const img_image *image, fl_err *err) FL_MUST_USE;

typedef struct node_pixels {
    uint32_t width, height, bits;
    const uint8_t *words; /* u16 little endian, in the scratch buffer */
} node_pixels;
fl_code node_pixels_get(fl_objects *objects, const fl_hash *hash, fl_buf *scratch, node_pixels *out,
                        fl_err *err) FL_MUST_USE;

/* In the caller's transaction: a patient's rows go, their objects become orphans. */
fl_code node_patient_delete(node_store *s, const char *dataset, const uint8_t patient[32], uint32_t *n,
                            fl_err *err) FL_MUST_USE;
/* After it: the files of orphans that no row names any more. */
fl_code node_orphans_drop(node_store *s, fl_err *err) FL_MUST_USE;

/* Rolls the transaction back and the ledger's memory with it. */
void node_data_undo(node_store *s);

#endif
