/* PNG files of ours, through libpng's simplified API. Reading PNG files of others is the decoder child's business. */
#include "base/file.h"
#include "imaging/heat.h"

#include <png.h>
#include <stdlib.h>

fl_code img_png_write(const char *path, const img_picture *p, fl_err *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .width = p->width, .height = p->height, .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *bytes = malloc(n);
    fl_code rc = FL_OK;
    if (!bytes || !png_image_write_to_memory(&image, bytes, &n, 0, p->rgb, 0, NULL))
        rc = fl_fail(err, FL_EENV, "picture: cannot be made: out of memory");
    if (rc == FL_OK)
        rc = fl_file_write(path, bytes, n, 0600, err);
    png_image_free(&image);
    free(bytes);
    return rc;
}
