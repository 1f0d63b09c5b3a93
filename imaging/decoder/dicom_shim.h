/*
 * The only door to DCMTK: its C++ behind plain C. dicom.c decides, this reads.
 *
 * Errors are sentences of ours with DCMTK's module and number; never its texts, which may quote a header.
 */
#ifndef IMAGING_DECODER_DICOM_SHIM_H
#define IMAGING_DECODER_DICOM_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum dicom_coding {
    DICOM_PLAIN,    /* dicom_plain_bytes */
    DICOM_CODEC,    /* dicom_decode_frame: JPEG, JPEG-LS, RLE */
    DICOM_JPEG2000, /* dicom_fragment, for OpenJPEG */
    DICOM_UNSUPPORTED,
} dicom_coding;

/* A lookup table of the header (PS3.3 C.7.6.3.1.5, C.11.1.1): value v gives data[clamp(v - first, 0, n - 1)]. */
typedef struct dicom_table {
    uint16_t *data; /* n, freed by dicom_close; NULL: not there */
    uint32_t n;
    int32_t first;
    unsigned bits; /* 8 .. 16 */
} dicom_table;

typedef struct dicom_header {
    dicom_coding coding;
    bool is_rle, is_jpegls;  /* of DICOM_CODEC; neither: JPEG */
    const char *syntax_name; /* DCMTK's constant text */
    bool has_pixels;
    uint16_t rows, columns, samples, allocated, stored, high, is_signed, planar; /* planar 1: R.. G.. B.. */
    uint32_t frames, fragments;
    char photometric[17], modality[17], body_part[17], view[17], laterality[17], burned_in[17];
    char sop_class[65];
    double slope, intercept; /* 1, 0 when not there */
    bool has_window;
    double centre, width;
    char window_function[17]; /* "" is LINEAR */
    bool has_palette;
    dicom_table modality_table, palette[3];
} dicom_header;

typedef struct dicom_file dicom_file;

/* Loads dictionary and codecs, silences all logging. Call once, before the sandbox. false: no dictionary found. */
bool dicom_start(void);

/* bytes must outlive the file. */
fl_code dicom_open(dicom_file **out, dicom_header *header, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;
void dicom_close(dicom_file *f, dicom_header *header);

/* Identity, for the pseudonym alone: bytes of the element ("" when not there) into a buffer that the caller wipes. */
typedef enum dicom_identity { DICOM_PATIENT_ID, DICOM_PATIENT_ISSUER, DICOM_SOP_UID } dicom_identity;
void dicom_identify(char *out, size_t size, dicom_file *f, dicom_identity which);

/* Borrowed: the pixel element of a plain file, little endian. */
fl_code dicom_plain_bytes(const uint8_t **bytes, uint64_t *n, dicom_file *f, fl_err *err) FL_MUST_USE;
/* The first frame, decoded, n bytes exactly; photometric as it is after decoding. Colour is by pixel in JPEG-LS;
 * in JPEG and RLE it is as PlanarConfiguration says. */
fl_code dicom_decode_frame(uint8_t *out, uint32_t n, char photometric[17], dicom_file *f, fl_err *err) FL_MUST_USE;
/* Fragment i (0 is the first of pixels): borrowed. */
fl_code dicom_fragment(const uint8_t **bytes, uint64_t *n, dicom_file *f, uint32_t i, fl_err *err) FL_MUST_USE;

#ifdef __cplusplus
}
#endif

#endif
