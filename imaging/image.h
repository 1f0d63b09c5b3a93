/*
 * Files from a hospital to de-identified grey pixels.
 *
 * Nothing in this process parses an image file. A child program, cordon-decode, receives bytes over a socket, sees no
 * file and no network (seccomp, resource limits), and returns pixels and a short allow-list of attributes. No name,
 * number, UID, date or free text of a header ever enters the caller's memory from the child: PatientID and
 * SOPInstanceUID come back as HMAC-SHA-256 under the site's key, computed inside the child, and the coded attributes
 * are compared with tables of the standard's terms and dropped (empty string) when they are anything else.
 *
 * Formats: DICOM (uncompressed little and big endian, deflated, JPEG, JPEG-LS, RLE, JPEG 2000), PNG, JPEG. NIfTI is
 * recognised and refused: not supported yet. Whatever the codecs cannot vouch for is refused with a reason.
 *
 * How stored values become pixels (DICOM PS3.3 C.7.6.3, C.11.1, C.11.2):
 *   1. the first frame; bits outside BitsStored are masked off, signed samples are sign-extended;
 *   2. colour becomes grey: Y of a YBR image, else 0.299 R + 0.587 G + 0.114 B (palettes are looked up first);
 *   3. modality: RescaleSlope and RescaleIntercept, or the modality lookup table;
 *   4. the first VOI window (LINEAR, LINEAR_EXACT or SIGMOID) maps to 0 .. 2^bits - 1; without a window the whole
 *      range that BitsStored can hold does, so that no value is lost. A VOI lookup table without a window is ignored.
 *   5. MONOCHROME1 is inverted: 0 is always black;
 *   6. when the longer side is over IMG_MAX_SIDE, area averaging brings it to IMG_MAX_SIDE.
 */
#ifndef IMAGING_IMAGE_H
#define IMAGING_IMAGE_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define IMG_MAX_SIDE       1024         /* of what is returned */
#define IMG_MAX_FILE_BYTES (256u << 20) /* of one file */
#define IMG_TIME_LIMIT_MS  20000        /* for one file unless changed; then the child is killed */

typedef struct img_image {
    uint32_t width, height; /* 1 .. IMG_MAX_SIDE */
    uint16_t *pixels;       /* height x width, row by row, 0 black .. 2^bits - 1 white */
    uint8_t bits;           /* 1 .. 16: BitsStored of a DICOM file, 8 or 16 of a PNG, 8 of a JPEG */
    /* terms of the standard or "": Modality, BodyPartExamined, ViewPosition, Laterality (R L B U),
     * PhotometricInterpretation */
    char modality[17], body_part[17], view[17], laterality[17], photometric[17];
    bool from_dicom;
    bool has_patient, has_sop;
    uint8_t patient[32]; /* img_hmac_patient of PatientID and IssuerOfPatientID */
    uint8_t sop[32];     /* img_hmac_sop of SOPInstanceUID */
    /* before step 2: the first frame's samples as stored, for comparison with other decoders */
    int64_t raw_min, raw_max;
    uint64_t raw_count; /* rows x columns x samples */
    double raw_mean;
    uint32_t n_frames; /* in the file; the first one is here */
} img_image;

void img_image_fini(img_image *image); /* frees the pixels; NULL and zeroed are fine */

/* What the site's policy may allow although text burned into the pixels is likely. Default: nothing. */
typedef enum img_allow {
    IMG_ALLOW_BURNED_IN = 1,  /* BurnedInAnnotation = YES */
    IMG_ALLOW_ULTRASOUND = 2, /* ultrasound, screens full of text as a rule */
    IMG_ALLOW_CAPTURE = 4,    /* secondary capture: screenshots, scanned paper */
} img_allow;

/* One thread at a time for a decoder. The child is started at open and again after its death. */
typedef struct img_decoder img_decoder;

/*
 * program_path  the child; NULL: the file named by CORDON_DECODER in the environment, else cordon-decode beside this
 *               program's own file
 * key           the site's secret for pseudonyms; it never leaves this machine
 * FL_EENV when the child cannot be started or does not come up.
 */
fl_code img_decoder_open(img_decoder **out, const char *program_path, const uint8_t key[32], fl_err *err) FL_MUST_USE;
void img_decoder_close(img_decoder *d);
void img_decoder_allow(img_decoder *d, unsigned flags /* of img_allow */);
void img_decoder_limit(img_decoder *d, int time_limit_ms); /* for one file */
int img_decoder_pid(const img_decoder *d);                 /* of the child; 0: none just now */

/*
 * One file's bytes; the format is found from the content. *out is overwritten; on failure it is zeroed.
 *
 * FL_EREFUSED  an image, but refused: by policy, or not supported by this program
 * FL_EFORMAT   not an image, damaged or truncated; or the child died or overran its time on it ("the decoder died
 *              (signal 11)"): that loses this file alone
 * FL_EENV      the child cannot be started, no memory
 * The message never contains text of the file.
 */
fl_code img_decode(img_decoder *d, img_image *out, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

/* The same from a path. A name that ends in .dcm, .dicom, .ima, .png, .jpg, .jpeg, .nii or .nii.gz must hold that
 * format (FL_EFORMAT); any other name may hold any. The file passes through one block that is wiped: prefer this to
 * img_decode. The message starts with the path: for the terminal only. */
fl_code img_decode_file(img_decoder *d, img_image *out, const char *path, fl_err *err) FL_MUST_USE;

/* The format by content: "DICOM", "PNG", "JPEG", "NIfTI", "gzip", or NULL. */
const char *img_format_name(const uint8_t *bytes, size_t n);

/*
 * Pseudonyms: HMAC-SHA-256(key, "cordon patient" 0x00 id 0x00 issuer) and HMAC-SHA-256(key, "cordon sop" 0x00 uid),
 * spaces and zero bytes at both ends of the texts removed. img_hmac_patient is for patient_id columns: no issuer.
 */
void img_hmac_patient(uint8_t out[32], const uint8_t key[32], const char *patient_id);
void img_hmac_sop(uint8_t out[32], const uint8_t key[32], const char *sop_instance_uid);
/* Any bytes, any issuer (n_issuer 0: none): what the child uses. */
void img_hmac_patient_bytes(uint8_t out[32], const uint8_t key[32], const void *id, size_t n_id, const void *issuer,
                            size_t n_issuer);

#endif
