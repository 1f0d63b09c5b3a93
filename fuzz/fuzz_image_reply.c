/* A decoder child that was taken over: whatever it says is refused, or is what an honest one could have said. */
#include "imaging/reply.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[IMG_REPLY_SIZE] = {0}, again[IMG_REPLY_SIZE];
    memcpy(bytes, data, size < sizeof bytes ? size : sizeof bytes);
    img_image image;
    img_job job;
    fl_err err;
    if (img_reply_parse(&image, bytes, &err) == FL_OK) {
        img_reply_write(again, FL_OK, &image, "");
        if (memcmp(bytes, again, sizeof bytes) != 0)
            __builtin_trap();
    } else if (err.text[0] == 0) {
        __builtin_trap();
    }
    (void)img_job_parse(&job, bytes);
    return 0;
}
