#include "imaging/image.h"

#include "crypto/csprng.h" /* fl_wipe */
#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ID 1024 /* a PatientID has 64 characters; longer texts are hashed first */

void img_image_fini(img_image *image)
{
    if (!image)
        return;
    free(image->pixels);
    *image = (img_image){0};
}

const char *img_format_name(const uint8_t *bytes, size_t n)
{
    if (n >= 132 && memcmp(bytes + 128, "DICM", 4) == 0)
        return "DICOM";
    if (n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0)
        return "PNG";
    if (n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0)
        return "JPEG";
    if (n >= 2 && memcmp(bytes, "\x1f\x8b", 2) == 0)
        return "gzip";
    if (n >= 348 && (memcmp(bytes + 344, "n+1", 4) == 0 || memcmp(bytes + 344, "ni1", 4) == 0))
        return "NIfTI";
    if (n >= 12 && (memcmp(bytes + 4, "n+2", 4) == 0 || memcmp(bytes + 4, "ni2", 4) == 0))
        return "NIfTI";
    /* DICOM without preamble: an even group up to 8 and a plausible first element */
    if (n >= 8 && (bytes[0] == 2 || bytes[0] == 8) && bytes[1] == 0 && bytes[3] == 0)
        return "DICOM";
    return NULL;
}

static void trim(const uint8_t **text, size_t *n)
{
    while (*n && ((*text)[*n - 1] == ' ' || (*text)[*n - 1] == 0))
        --*n;
    while (*n && (**text == ' ' || **text == 0)) {
        ++*text;
        --*n;
    }
}

/* tag 0 a 0 b; a text longer than any honest one is replaced by its SHA-256 */
static void pseudonym(uint8_t out[32], const uint8_t key[32], const char *tag, const void *a, size_t n_a, const void *b,
                      size_t n_b)
{
    const uint8_t *text[2] = {a, b};
    size_t n_text[2] = {n_a, n_b};
    uint8_t message[32 + 2 * MAX_ID];
    size_t n = strlen(tag);
    memcpy(message, tag, n);
    for (unsigned i = 0; i < (b ? 2u : 1u); i++) {
        trim(&text[i], &n_text[i]);
        message[n++] = 0;
        if (n_text[i] < MAX_ID) {
            memcpy(message + n, text[i], n_text[i]);
            n += n_text[i];
        } else {
            fl_hash digest = fl_sha256(text[i], n_text[i]);
            memcpy(message + n, digest.bytes, sizeof digest.bytes);
            n += sizeof digest.bytes;
        }
    }
    fl_hash mac = fl_hmac(key, message, n);
    memcpy(out, mac.bytes, 32);
    fl_wipe(message, sizeof message);
}

void img_hmac_patient_bytes(uint8_t out[32], const uint8_t key[32], const void *id, size_t n_id, const void *issuer,
                            size_t n_issuer)
{
    pseudonym(out, key, "cordon patient", id, n_id, n_issuer ? issuer : "", n_issuer);
}

void img_hmac_patient(uint8_t out[32], const uint8_t key[32], const char *patient_id)
{
    img_hmac_patient_bytes(out, key, patient_id, strlen(patient_id), "", 0);
}

void img_hmac_sop(uint8_t out[32], const uint8_t key[32], const char *sop_instance_uid)
{
    pseudonym(out, key, "cordon sop", sop_instance_uid, strlen(sop_instance_uid), NULL, 0);
}
