/*
 * img_term - the coded terms of the standard that may leave the decoder.
 *
 * A header is free text that somebody typed: BodyPartExamined has held patients' names. So a value passes only if it
 * is, byte for byte, one of the terms in a table; anything else becomes the empty string. Both sides of the socket
 * check.
 */
#ifndef IMAGING_TERMS_H
#define IMAGING_TERMS_H

#include <stdbool.h>

typedef enum img_term_kind {
    IMG_TERM_MODALITY,    /* PS3.3 C.7.3.1.1.1 */
    IMG_TERM_BODY_PART,   /* PS3.16 annex L, the common ones */
    IMG_TERM_VIEW,        /* PS3.3 C.8.1.1.1, C.8.11.5 */
    IMG_TERM_LATERALITY,  /* R L B U */
    IMG_TERM_PHOTOMETRIC, /* PS3.3 C.7.6.3.1.2 */
    IMG_TERM_KINDS
} img_term_kind;

#define IMG_TERM_SIZE 17 /* a code string of 16 and the zero */

/* The table's own copy of the term, or "" when text is not one. */
const char *img_term(img_term_kind kind, const char *text);

#endif
