/* An envelope from the network: limits, structure, ranges; what is taken packs to the same content again. */
#include "proto/msg/envelope.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fl_sign_key key;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1};
    static wire_decoder d;
    wire_message m;
    if (!key.handle && fl_sign_key_from_seed(&key, seed, NULL))
        abort();
    if (wire_unpack(&m, &d, data, size, NULL))
        return 0;
    fl_buf again;
    fl_buf_init(&again, WIRE_ENVELOPE_MAX);
    if (wire_pack(&again, &m, &key, NULL) || again.size != size ||
        memcmp(again.bytes + WIRE_ENVELOPE_HEAD, data + WIRE_ENVELOPE_HEAD, size - WIRE_ENVELOPE_HEAD))
        abort();
    (void)!wire_verify(&d, key.public_key, NULL);
    fl_buf_fini(&again);
    return 0;
}
