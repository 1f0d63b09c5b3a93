/* Proofs over the tree, against the definitions of RFC 6962 written out naively, and the published test vectors. */
#include "base/encode.h"
#include "privacy/proof.h"
#include "tests/base/test.h"

#include <stdio.h>

#define MOST 300

static char lines[MOST][16];
static fl_hash naive[MOST + 1][MOST + 1]; /* MTH(D[from : to]), from < to */
static dp_forest forest;

static unsigned half_of(unsigned n)
{
    unsigned k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

/* Shorter ranges first, so that both halves are there. */
static void fill_naive(void)
{
    for (unsigned n = 1; n <= MOST; n++)
        for (unsigned from = 0; from + n <= MOST; from++) {
            uint8_t node[65] = {1};
            if (n == 1) {
                naive[from][from + 1] = fl_sha256_2("", 1, lines[from], strlen(lines[from]));
                continue;
            }
            memcpy(node + 1, &naive[from][from + half_of(n)], 32);
            memcpy(node + 33, &naive[from + half_of(n)][from + n], 32);
            naive[from][from + n] = fl_sha256(node, sizeof node);
        }
}

static int make(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MOST; i++) {
        snprintf(lines[i], sizeof lines[i], "line %u", i + 1);
        assert_true(dp_forest_append(&forest, lines[i], strlen(lines[i])));
    }
    fill_naive();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    dp_forest_fini(&forest);
    return 0;
}

static void roots_are_those_of_the_tree(void **state)
{
    (void)state;
    dp_tree tree;
    dp_tree_init(&tree);
    for (unsigned n = 0; n <= MOST; n++) {
        const fl_hash root = dp_forest_root(&forest, n), other = dp_tree_root(&tree);
        assert_true(fl_hash_equal(&root, &other));
        if (n > 0)
            assert_true(fl_hash_equal(&root, &naive[0][n]));
        if (n < MOST)
            dp_tree_append(&tree, lines[n], strlen(lines[n]));
    }
}

/* RFC 6962, 2.1.2, from the leaves up. */
static uint32_t naive_subproof(fl_hash *out, unsigned m, unsigned from, unsigned to, bool is_known)
{
    if (m == to - from) {
        out[0] = naive[from][to];
        return is_known ? 0 : 1;
    }
    const unsigned k = half_of(to - from);
    uint32_t n = m <= k ? naive_subproof(out, m, from, from + k, is_known)
                        : naive_subproof(out, m - k, from + k, to, false);
    out[n] = m <= k ? naive[from + k][to] : naive[from][from + k];
    return n + 1;
}

static void any_head_is_proven_to_extend_any_older_one(void **state)
{
    (void)state;
    fl_hash proof[DP_PROOF_MAX], expected[DP_PROOF_MAX + 1];
    for (unsigned to = 1; to <= MOST; to++)
        for (unsigned from = 1; from <= to; from++) {
            const uint32_t n = dp_forest_consistency(&forest, proof, from, to);
            assert_int_equal(n, naive_subproof(expected, from, 0, to, true));
            assert_memory_equal(proof, expected, n * sizeof *proof);
            assert_true(dp_consistency_verify(from, &naive[0][from], to, &naive[0][to], proof, n));
        }
}

/* Every hash of the proof and both roots count, and so do the sizes. */
static void no_other_head_passes(void **state)
{
    (void)state;
    fl_hash proof[DP_PROOF_MAX];
    for (unsigned to = 2; to <= 70; to++)
        for (unsigned from = 1; from < to; from++) {
            fl_hash old = naive[0][from], new = naive[0][to];
            const uint32_t n = dp_forest_consistency(&forest, proof, from, to);
            assert_true(dp_consistency_verify(from, &old, to, &new, proof, n));
            for (uint32_t i = 0; i < n; i++) {
                proof[i].bytes[i % 32] ^= 1;
                assert_false(dp_consistency_verify(from, &old, to, &new, proof, n));
                proof[i].bytes[i % 32] ^= 1;
            }
            assert_false(dp_consistency_verify(from, &old, to, &new, proof, n - 1));
            proof[n] = naive[0][1];
            assert_false(dp_consistency_verify(from, &old, to, &new, proof, n + 1));
            assert_false(dp_consistency_verify(to, &old, from, &new, proof, n));
            /* roots of so many lines that say they are of others: whoever signs a head signs its size */
            assert_false(dp_consistency_verify(from, &old, to + 128, &new, proof, n));
            if (from % 4 == 3 && to == from + 1)
                assert_false(dp_consistency_verify(from / 2, &old, to / 2, &new, proof, n));
            if (to > 8 * from)
                assert_false(dp_consistency_verify(from, &old, from + 1, &new, proof, n));
            assert_false(dp_consistency_verify(from, &naive[0][from - 1 ? from - 1 : to], to, &new, proof, n));
            old.bytes[31] ^= 0x80;
            assert_false(dp_consistency_verify(from, &old, to, &new, proof, n));
            old.bytes[31] ^= 0x80;
            new.bytes[0] ^= 1;
            assert_false(dp_consistency_verify(from, &old, to, &new, proof, n));
        }
}

static void nothing_and_itself_need_no_proof(void **state)
{
    (void)state;
    fl_hash proof[DP_PROOF_MAX], zero = {{0}};
    assert_int_equal(dp_forest_consistency(&forest, proof, 0, 17), 0);
    assert_true(dp_consistency_verify(0, &zero, 17, &naive[0][17], NULL, 0));
    assert_false(dp_consistency_verify(0, &zero, 17, &naive[0][17], &zero, 1));
    assert_true(dp_consistency_verify(17, &naive[0][17], 17, &naive[0][17], NULL, 0));
    assert_false(dp_consistency_verify(17, &naive[0][17], 17, &naive[0][18], NULL, 0));
    assert_false(dp_consistency_verify(17, &naive[0][17], 18, &naive[0][18], NULL, 0));
    assert_false(dp_consistency_verify(UINT64_MAX, &zero, UINT64_MAX - 1, &zero, proof, DP_PROOF_MAX));
    assert_false(dp_consistency_verify(1, &zero, UINT64_MAX, &zero, proof, DP_PROOF_MAX + 1));
}

/* A ledger that was rewritten in its past cannot show a proof, whatever it sends of its own tree. */
static void a_rewritten_past_is_found(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 40; at++) {
        dp_forest other = {0};
        for (unsigned i = 0; i < 64; i++)
            assert_true(
                dp_forest_append(&other, i == at ? "another" : lines[i], strlen(i == at ? "another" : lines[i])));
        fl_hash proof[DP_PROOF_MAX];
        for (unsigned to = 41; to <= 64; to++) {
            const fl_hash root = dp_forest_root(&other, to);
            const uint32_t n = dp_forest_consistency(&other, proof, 40, to);
            assert_false(dp_consistency_verify(40, &naive[0][40], to, &root, proof, n));
        }
        dp_forest_fini(&other);
    }
}

static void every_line_is_proven_under_every_head(void **state)
{
    (void)state;
    fl_hash proof[DP_PROOF_MAX];
    for (unsigned size = 1; size <= MOST; size++)
        for (unsigned seq = 1; seq <= size; seq++) {
            const char *line = lines[seq - 1];
            const uint32_t n = dp_forest_inclusion(&forest, proof, seq, size);
            assert_true(dp_inclusion_verify(line, strlen(line), seq, size, &naive[0][size], proof, n));
            assert_false(
                dp_inclusion_verify(line, strlen(line), seq == size ? 0 : seq + 1, size, &naive[0][size], proof, n));
            assert_false(dp_inclusion_verify("x", 1, seq, size, &naive[0][size], proof, n));
            assert_false(dp_inclusion_verify(line, strlen(line), seq, 4 * MOST, &naive[0][size], proof, n));
            if (n > 0 && (seq == 1 || seq == size))
                assert_false(dp_inclusion_verify(line, strlen(line), 1, 1, &naive[0][size], proof, n));
            if (n == 0)
                continue;
            assert_false(dp_inclusion_verify(line, strlen(line), seq, size, &naive[0][size], proof, n - 1));
            proof[n] = proof[0];
            assert_false(dp_inclusion_verify(line, strlen(line), seq, size, &naive[0][size], proof, n + 1));
            proof[seq % n].bytes[seq % 32] ^= 4;
            assert_false(dp_inclusion_verify(line, strlen(line), seq, size, &naive[0][size], proof, n));
        }
}

/* The eight leaves, roots and proofs that Certificate Transparency's programs are tested with. */
static void agrees_with_the_published_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } leaves[8] = {{"", 0},
                   {"\x00", 1},
                   {"\x10", 1},
                   {"\x20\x21", 2},
                   {"\x30\x31", 2},
                   {"\x40\x41\x42\x43", 4},
                   {"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
                   {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16}};
    static const char *const roots[8] = {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                                         "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                                         "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                                         "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                                         "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                                         "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                                         "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                                         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
    static const struct {
        unsigned from, to, n;
        const char *hashes[3];
    } proofs[] = {{1, 1, 0, {NULL, NULL, NULL}},
                  {1,
                   8,
                   3,
                   {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
                  {6,
                   8,
                   3,
                   {"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
                  {2,
                   5,
                   2,
                   {"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b", NULL}}};
    dp_forest f = {0};
    fl_hash proof[DP_PROOF_MAX];
    char hex[65];
    for (unsigned i = 0; i < 8; i++) {
        assert_true(dp_forest_append(&f, leaves[i].bytes, leaves[i].n));
        const fl_hash root = dp_forest_root(&f, i + 1);
        fl_hex_encode(hex, root.bytes, 32);
        assert_string_equal(hex, roots[i]);
    }
    for (unsigned i = 0; i < sizeof proofs / sizeof proofs[0]; i++) {
        assert_int_equal(dp_forest_consistency(&f, proof, proofs[i].from, proofs[i].to), proofs[i].n);
        for (unsigned j = 0; j < proofs[i].n; j++) {
            fl_hex_encode(hex, proof[j].bytes, 32);
            assert_string_equal(hex, proofs[i].hashes[j]);
        }
    }
    dp_forest_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_those_of_the_tree),
        cmocka_unit_test(any_head_is_proven_to_extend_any_older_one),
        cmocka_unit_test(no_other_head_passes),
        cmocka_unit_test(nothing_and_itself_need_no_proof),
        cmocka_unit_test(a_rewritten_past_is_found),
        cmocka_unit_test(every_line_is_proven_under_every_head),
        cmocka_unit_test(agrees_with_the_published_vectors),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
