/* A witness's store from outside. What parses is written again, record by record, to the same bytes. */
#include "audit/store.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    witness_store s, again;
    if (witness_store_parse(&s, data, size, "fuzz", NULL) == FL_OK) {
        fl_code code = witness_store_begin(&again, s.vkey, NULL);
        for (size_t i = 0; i < s.n && code == FL_OK; i++)
            code = witness_store_add(&again, &s.heads[i], fl_buf_text(&s.text) + s.heads[i].note_at, s.heads[i].n_note,
                                     NULL);
        assert(code == FL_OK && again.text.size == size && memcmp(again.text.bytes, data, size) == 0);
        witness_store_fini(&again);
    }
    witness_store_fini(&s);
    return 0;
}
