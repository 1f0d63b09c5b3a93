/* Small DICOM files made by hand, explicit VR little endian, for tests of what is done with their values. */
#ifndef TESTS_IMAGING_MAKE_DICOM_H
#define TESTS_IMAGING_MAKE_DICOM_H

#include "base/buf.h"

typedef struct made {
    const char *syntax, *photometric, *sop_class, *modality, *burned_in, *patient_id,
        *issuer;                                                                         /* NULL: see made_write */
    const char *slope, *intercept, *centre, *width, *function, *body_part;               /* NULL: not there */
    unsigned rows, columns, samples, allocated, stored, high, is_signed, planar, frames; /* frames 0: not there */
    const void *pixels;
    size_t n_pixels;
    bool no_pixels;
    const void *extra; /* elements before the pixels, as bytes */
    size_t n_extra;
} made;

/* Defaults: 2 x 2, 8 bits, MONOCHROME2, CR. */
made made_default(const void *pixels, size_t n_pixels);
void made_write(fl_buf *out, const made *m);

/* One element; the pieces that made_write is made of. vr SQ, OB, OW, UN have the long form. */
void made_element(fl_buf *out, uint32_t tag, const char *vr, const void *bytes, size_t n);
void made_text(fl_buf *out, uint32_t tag, const char *vr, const char *text);
void made_item(fl_buf *out, uint32_t tag, uint32_t length);     /* item and delimiters */
void made_undefined(fl_buf *out, uint32_t tag, const char *vr); /* head of an element of undefined length */
void made_head(fl_buf *out, const char *syntax);                /* preamble and file meta */

#endif
