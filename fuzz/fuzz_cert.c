/* A certificate of a stranger, as PEM or (when it does not begin with a dash) as the DER inside. */
#include "base/encode.h"
#include "crypto/cert.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 5000)
        return 0;
    fl_buf pem;
    fl_buf_init(&pem, 3 * FL_PEM_MAX);
    if (data[0] == '-')
        fl_buf_add(&pem, data, size);
    else {
        fl_buf_add_text(&pem, "-----BEGIN CERTIFICATE-----\n");
        for (size_t i = 0; i < size; i += 48) {
            char line[FL_BASE64_SIZE(48)];
            fl_base64_encode(line, data + i, size - i < 48 ? size - i : 48);
            fl_buf_printf(&pem, "%s\n", line);
        }
        fl_buf_add_text(&pem, "-----END CERTIFICATE-----\n");
    }
    fl_cert_info info;
    if (fl_cert_read(&info, fl_buf_text(&pem), NULL) == FL_OK) {
        size_t n = strlen(info.name);
        if (n < 1 || n > 63 || info.use > FL_CERT_ENROL)
            abort();
        for (int use = FL_CERT_SERVER; use <= FL_CERT_ENROL; use++) {
            /* nobody is his own issuer and a leaf too */
            if (fl_cert_check(fl_buf_text(&pem), fl_buf_text(&pem), (fl_cert_use)use, 1772368440, NULL) == FL_OK)
                abort();
        }
    }
    fl_buf_fini(&pem);
    return 0;
}
