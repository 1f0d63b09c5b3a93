/*
 * cordon-decode - the child that reads untrusted image files (imaging/reply.h has what it hears and says).
 *
 * Started by img_decoder_open with the socket as descriptor 3; nothing else starts it. It loads what it needs, builds
 * its walls, and then turns bytes into pixels until the socket ends.
 */
#include "crypto/csprng.h" /* fl_wipe */
#include "crypto/hash.h"
#include "imaging/decoder/dicom_shim.h"
#include "imaging/decoder/frame.h"
#include "imaging/decoder/sandbox.h"
#include "imaging/reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET 3

static bool read_all(void *out, size_t n)
{
    for (uint8_t *p = out; n;) {
        ssize_t got = read(SOCKET, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool write_all(const void *bytes, size_t n)
{
    for (const uint8_t *p = bytes; n;) {
        ssize_t put = write(SOCKET, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static fl_code decode(img_image *out, const img_job *job, const uint8_t *bytes, fl_err *err)
{
    size_t n = job->length;
    const char *format = img_format_name(bytes, n);
    if (format && strcmp(format, "DICOM") == 0)
        return img_read_dicom(out, bytes, n, job->flags, job->key, err);
    if (format && strcmp(format, "PNG") == 0)
        return img_read_png(out, bytes, n, err);
    if (format && strcmp(format, "JPEG") == 0)
        return img_read_jpeg(out, bytes, n, err);
    if (format)
        return fl_fail(err, FL_EREFUSED, "%s is not supported yet: convert it to DICOM or PNG",
                       strcmp(format, "gzip") == 0 ? "a gzip file (NIfTI .nii.gz?)" : format);
    return fl_fail(err, FL_EFORMAT, "not an image: neither DICOM nor PNG nor JPEG");
}

/* One job. false: the socket is at its end. */
static bool serve(void)
{
    uint8_t head[IMG_JOB_SIZE], reply[IMG_REPLY_SIZE];
    img_job job;
    if (!read_all(head, sizeof head) || !img_job_parse(&job, head))
        return false;
    uint8_t *bytes = malloc(job.length + 1);
    if (!bytes || !read_all(bytes, job.length))
        exit(3); /* the parent starts another */
    img_image image = {0};
    fl_err err = {0};
    fl_code code = decode(&image, &job, bytes, &err);
    img_reply_write(reply, code, code == FL_OK ? &image : NULL, err.text);
    bool ok = write_all(reply, sizeof reply);
    if (code == FL_OK)
        ok = ok && write_all(image.pixels, (size_t)image.width * image.height * sizeof *image.pixels);
    img_image_fini(&image);
    fl_wipe(bytes, job.length);
    free(bytes);
    fl_wipe(&job, sizeof job);
    fl_wipe(head, sizeof head);
    return ok;
}

int main(void)
{
    static const uint8_t no_key[32];
    fl_hash warm = fl_hmac(no_key, "", 0); /* OpenSSL loads its configuration and providers now */
    if (fl_hash_equal(&warm, &(fl_hash){0}) || !img_sandbox_limits() || !dicom_start() || !img_sandbox_enter()) {
        fprintf(stderr,
                "cordon-decode: started by the node; it has no use of its own, or lacks the DICOM dictionary\n");
        return 3;
    }
    if (!write_all(IMG_HELLO, IMG_HELLO_SIZE))
        return 3;
    while (serve())
        continue;
    return 0;
}
