/* What hospitals see of one another's ledgers: a second history shows itself. */
#include "base/rng.h"
#include "node/heads.h"
#include "tests/base/test.h"

#include <stdio.h>

enum { SITES = 4 };

typedef struct bench {
    node_store store;
    wire_site sites[SITES];
    wire_announce announce;
    char why[200];
} bench;

static fl_hash root_of(uint32_t history, uint32_t site, uint64_t size)
{
    const uint64_t words[3] = {size < 20 ? 0 : history, site, size}; /* histories part at 20 lines */
    return fl_sha256(words, sizeof words);
}

static void begin(bench *b)
{
    const uint8_t seed[32] = {9};
    fl_err err;
    memset(b, 0, sizeof *b);
    assert_ok(node_store_open_memory(&b->store, "a", seed, &err), err);
    for (uint32_t i = 0; i < SITES; i++)
        snprintf(b->sites[i].name, sizeof b->sites[i].name, "%c", 'a' + (int)i);
    b->announce = (wire_announce){.n_sites = SITES, .sites = b->sites};
}

static void show(bench *b, uint32_t i, uint32_t history, uint64_t size)
{
    b->sites[i].ledger_size = size;
    b->sites[i].ledger_root = size ? root_of(history, i, size) : (fl_hash){{0}};
}

static bool is_split(bench *b, const char *study)
{
    bool split;
    fl_err err;
    assert_ok(node_heads_see(&b->store, study, &b->announce, &split, b->why, &err), err);
    assert_int_equal(split, b->why[0] != 0);
    return split;
}

static void a_shorter_or_another_ledger_is_noticed(void **state)
{
    (void)state;
    bench b;
    begin(&b);
    assert_false(is_split(&b, "s")); /* nobody has shown anything */
    for (uint32_t i = 0; i < SITES; i++)
        show(&b, i, 0, 30 + i);
    assert_false(is_split(&b, "s"));
    assert_false(is_split(&b, "s")); /* the same again */
    show(&b, 2, 0, 31);
    assert_true(is_split(&b, "s"));
    assert_string_equal(b.why, "the ledger of c has 31 lines, it had 32");
    show(&b, 2, 1, 32);
    assert_true(is_split(&b, "s"));
    assert_non_null(strstr(b.why, "the ledger of c of 32 lines is another one"));
    assert_true(is_split(&b, "t")); /* in another study too */
    show(&b, 2, 0, 31);
    assert_false(is_split(&b, "t")); /* a round that opened before */
    show(&b, 0, 0, 0);               /* of itself too */
    show(&b, 2, 0, 33);
    assert_true(is_split(&b, "s"));
    show(&b, 0, 0, 30);
    assert_false(is_split(&b, "s")); /* what was refused was not kept */
    node_store_close(&b.store);
}

/* A coordinator shows this hospital one history, and from some round on the other; wherever a head was seen in both, or goes
 * back, it is noticed in that round. */
static void a_switch_of_histories_is_noticed_in_the_round(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_init(&rng, 5, 5);
    for (unsigned trial = 0; trial < 1000; trial++) {
        bench b;
        uint64_t sizes[SITES] = {20, 21, 22, 23};
        begin(&b);
        const unsigned rounds = 1 + (unsigned)fl_rng_below(&rng, 8);
        for (unsigned round = 0; round < rounds; round++) {
            for (uint32_t i = 0; i < SITES; i++)
                show(&b, i, 0, sizes[i] += 4 * fl_rng_below(&rng, 2));
            assert_false(is_split(&b, "s"));
        }
        /* in the other history somebody took no part in the newest round yet, or the same part */
        const uint32_t who = (uint32_t)fl_rng_below(&rng, SITES);
        show(&b, who, 1, sizes[who] - fl_rng_below(&rng, 2));
        assert_true(is_split(&b, "s"));
        node_store_close(&b.store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shorter_or_another_ledger_is_noticed),
        cmocka_unit_test(a_switch_of_histories_is_noticed_in_the_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
