/*
 * What the parent and its decoder child say to each other, over a socket pair. Integers are little endian.
 *
 * The child says IMG_HELLO once, when its filter stands. Then, for each file:
 *
 *     job    0   4  "CJOB"                     reply    0   4  "CREP"
 *            4   4  flags of img_allow                  4   4  fl_code; FL_OK: pixels follow
 *            8   8  length                              8   4  width, 12 4 height, 16 4 frames in the file
 *           16  32  key                                20   1  bits, 21 1 from DICOM, 22 1 has patient, 23 1 has SOP
 *           48      length bytes                       24   8  raw min, 32 8 raw max, 40 8 raw count
 *                                                      48   8  raw mean, IEEE 754 double
 *                                                      56  32  patient, 88 32 SOP (zero when not there)
 *                                                     120  85  five terms of 17 bytes, zero-filled
 *                                                     205   3  zero
 *                                                     208 240  reason: printable ASCII, zero-filled
 *                                                     448      width * height pixels of 2 bytes, when FL_OK
 *
 * The parent trusts nothing in a reply: img_reply_parse accepts exactly what img_reply_write can write, so a child
 * that was taken over can still say nothing but an image, terms of the standard and a short sentence.
 */
#ifndef IMAGING_REPLY_H
#define IMAGING_REPLY_H

#include "imaging/image.h"

#define IMG_HELLO       "cordon-decode 1\n"
#define IMG_HELLO_SIZE  16
#define IMG_JOB_SIZE    48
#define IMG_REPLY_SIZE  448
#define IMG_REASON_SIZE 240

typedef struct img_job {
    unsigned flags;
    uint64_t length;
    uint8_t key[32];
} img_job;

void img_job_write(uint8_t out[IMG_JOB_SIZE], const img_job *job);
bool img_job_parse(img_job *out, const uint8_t bytes[IMG_JOB_SIZE]); /* false: not a job, or too long */

/* image may be NULL when code is not FL_OK; reason is cut to fit and stripped of what is not printable ASCII. */
void img_reply_write(uint8_t out[IMG_REPLY_SIZE], fl_code code, const img_image *image, const char *reason);

/*
 * FL_OK: *out is filled but for its pixels (NULL). Otherwise *out is zeroed and err has the child's reason; a reply
 * that no honest child writes is FL_EENV.
 */
fl_code img_reply_parse(img_image *out, const uint8_t bytes[IMG_REPLY_SIZE], fl_err *err) FL_MUST_USE;

#endif
