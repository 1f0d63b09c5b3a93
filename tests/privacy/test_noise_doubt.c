/*
 * The candidates of the noise sampler, one by one, from random bytes that the test writes: what it decides from 32 bits,
 * what from 128, and that both are the same comparison. This program brings its own fl_csprng (below) in place of
 * crypto/csprng.c. Nothing is random here.
 */
#include "tests/base/test.h"

#include "base/rng.h"
#include "privacy/fixed.h"
#include "privacy/noise_examine.h"
#include "privacy/noise_table.h"

#include <math.h>

typedef unsigned __int128 u128;

/* --- random bytes as the test wants them ------------------------------------------------------------------------- */

enum { EXTRA_MAX = 4 * DP_NOISE_CANDIDATES };

static uint64_t script[4][2 * DP_NOISE_CANDIDATES]; /* blocks of candidates: v, u */
static size_t n_blocks, block_at, bytes_at;
static uint64_t extra[EXTRA_MAX]; /* words asked for one by one, in the slow decision */
static size_t extra_at;

void fl_wipe(void *bytes, size_t n)
{
    memset(bytes, 0, n);
}

void fl_csprng_init(fl_csprng *r)
{
    memset(r, 0, sizeof *r);
}

void fl_csprng_fini(fl_csprng *r)
{
    (void)r;
}

void fl_csprng_bytes(fl_csprng *r, void *bytes, size_t n)
{
    (void)r;
    assert_true(n <= sizeof script[0] && n % 16 == 0);
    bytes_at += n;
    assert_true(block_at < n_blocks);
    memcpy(bytes, script[block_at++], n);
}

uint64_t fl_csprng_u64(fl_csprng *r)
{
    (void)r;
    assert_true(extra_at < EXTRA_MAX);
    return extra[extra_at++];
}

/* --- one candidate at a time ------------------------------------------------------------------------------------- */

static dp_noise t;
static dp_noise_scratch scratch;
static fl_csprng r;

static void begin(uint64_t s2)
{
    dp_noise_fini(&t);
    assert_int_equal(dp_noise_init(&t, s2, NULL), FL_OK);
}

static uint64_t v_of(size_t column, uint64_t place)
{
    return (uint64_t)column << (64 - t.column_bits) | place;
}

static uint64_t u_of(uint64_t head, bool is_negative, uint64_t j)
{
    return head << 32 | (uint64_t)is_negative << 31 | j;
}

/* A column whose own entry it is, from place 0 on. */
static size_t column_of(size_t entry)
{
    assert_true(t.threshold[entry] > 0);
    return entry;
}

/* Draws one block whose every candidate is the zero, but for the first: that one is at out[0] if it is accepted, and the
 * answer. An entry e >= 1 has no zero. */
static bool accepts(uint64_t v, uint64_t u, int64_t *x)
{
    static int64_t out[DP_NOISE_BLOCK];
    for (size_t i = 0; i < DP_NOISE_CANDIDATES; i++) {
        script[0][2 * i] = v_of(column_of(0), 0);
        script[0][2 * i + 1] = 0;
    }
    script[0][0] = v;
    script[0][1] = u;
    n_blocks = 1;
    block_at = extra_at = 0;
    dp_noise_draw(&t, out, DP_NOISE_BLOCK, &r, &scratch);
    *x = out[0];
    return out[0] != 0;
}

static int64_t size_of(size_t entry, uint64_t j)
{
    return entry == 0 ? 0 : (int64_t)(((entry - 1) << t.width_bits) + 1 + j);
}

/* floor(2^128 exp(-g)); privacy/fixed.h is tested against the reference. */
static u128 odds_of(size_t entry, uint64_t j)
{
    uint64_t first = (uint64_t)size_of(entry, 0);
    dp_fixed odds = dp_fixed_exp_neg(j * (2 * first + j), 2 * t.s2);
    return dp_fixed_floor_128(&odds);
}

/* --- the entry --------------------------------------------------------------------------------------------------- */

static void a_place_in_the_thresholds_own_digits_is_decided_by_64_more_bits(void **state)
{
    (void)state;
    begin((uint64_t)1 << 32);
    unsigned n_tried = 0;
    for (size_t column = 1; column < t.n_entries; column += 97) {
        uint64_t high = t.threshold[column], low = t.threshold_low[column];
        size_t alias = t.alias[column];
        const uint64_t step = (uint64_t)1 << (DP_NOISE_ALIAS_BITS - t.column_bits); /* what is looked at first */
        int64_t x;
        if (alias == column || alias == 0 || low == 0 || high < step)
            continue;
        assert_true(accepts(v_of(column, high - step), u_of(0, false, 0), &x));
        assert_int_equal(x, size_of(column, 0));
        assert_int_equal(extra_at, 0);
        assert_true(accepts(v_of(column, high + step), u_of(0, false, 0), &x));
        assert_int_equal(x, size_of(alias, 0));
        assert_int_equal(extra_at, 0);
        for (int beside = -1; beside <= 1; beside += 2) { /* the first 48 bits leave it open, the next ones do not */
            if ((high + (uint64_t)beside) / step != high / step)
                continue;
            extra[0] = beside < 0 ? UINT64_MAX : 0;
            assert_true(accepts(v_of(column, high + (uint64_t)beside), u_of(0, false, 0), &x));
            assert_int_equal(x, size_of(beside < 0 ? column : alias, 0));
            assert_int_equal(extra_at, 3);
        }
        for (int beside = -1; beside <= 1; beside++) {
            extra[0] = low + (uint64_t)beside;
            assert_true(accepts(v_of(column, high), u_of(0, true, 0), &x));
            assert_int_equal(x, -size_of(beside < 0 ? column : alias, 0));
            assert_int_equal(extra_at, 3);
        }
        n_tried++;
    }
    assert_true(n_tried > 20);
}

/* --- the acceptance ---------------------------------------------------------------------------------------------- */

static void a_head_in_the_odds_own_digits_is_decided_by_96_more_bits(void **state)
{
    (void)state;
    static const uint64_t list[] = {262144, 1000003, (uint64_t)1 << 32, ((uint64_t)1 << 56) - 1, (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        begin(list[i]);
        const uint64_t w = (uint64_t)1 << t.width_bits, places[] = {1, w / 2, w - 1};
        for (size_t k = 0; k < 3; k++) {
            for (size_t entry = 1; entry < t.n_entries; entry += t.n_entries / 37) {
                if (t.columns[entry] >> DP_NOISE_ALIAS_BITS == 0 || places[k] == 0)
                    continue;
                const uint64_t v = v_of(column_of(entry), 0);
                const u128 odds = odds_of(entry, places[k]);
                for (int beside = -1; beside <= 1; beside++) {
                    u128 uniform = odds + (u128)beside;
                    int64_t x;
                    extra[0] = 12345; /* for the entry, not looked at */
                    extra[1] = (uint64_t)(uniform >> 32);
                    extra[2] = (uint64_t)uniform << 32;
                    bool is_in = accepts(v, u_of((uint64_t)(uniform >> 96), true, places[k]), &x);
                    assert_int_equal(is_in, beside < 0);
                    assert_true(!is_in || x == -size_of(entry, places[k]));
                    assert_int_equal(extra_at, 3);
                }
            }
        }
    }
}

/* How far from 2^32 exp(-g) a head must be to leave no doubt: the bounds of noise.c are g^3/6/64 apart and a cell and an eighth. */
static uint64_t sure_distance(size_t entry, uint64_t j)
{
    double g = (double)j * (2 * (double)size_of(entry, 0) + (double)j) / (2 * (double)t.s2);
    return 3 + (uint64_t)(g * g * g / 6 / 64 * 0x1p32);
}

/*
 * Many pairs (entry, j), each with one of three heads: well below 2^32 exp(-g), accepted from 32 bits alone; well above,
 * rejected from them; and in the middle, which asks for more, here zeros, and is accepted.
 */
static void the_quick_decision_is_the_slow_one(void **state)
{
    (void)state;
    static int64_t out[DP_NOISE_BLOCK];
    static const uint64_t list[] = {262144, (uint64_t)1 << 32, ((uint64_t)1 << 40) + 12345, (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        begin(list[i]);
        size_t n_slow = 0, n_middle = 0;
        uint64_t seed = 1;
        for (size_t block = 0; block < 8; block++) {
            static int64_t expected[DP_NOISE_CANDIDATES]; /* 0: rejected */
            memset(extra, 0, sizeof extra);               /* U is the head and zeros */
            for (size_t c = 0; c < DP_NOISE_CANDIDATES; c++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                size_t entry = 1 + (seed >> 33) % (t.n_entries - 1);
                uint64_t j = (seed >> 12) & (((uint64_t)1 << t.width_bits) - 1), beside = c % 3;
                while (t.columns[entry] >> DP_NOISE_ALIAS_BITS == 0) /* place 0 would be in doubt */
                    entry--;
                uint64_t head = j == 0 ? UINT32_MAX : (uint64_t)(odds_of(entry, j) >> 96);
                const uint64_t far = sure_distance(entry, j);
                if (head + far > UINT32_MAX)
                    beside = 1; /* there is none above */
                n_middle += beside == 1;
                script[0][2 * c] = v_of(entry, 0);
                script[0][2 * c + 1] = u_of(beside == 0 ? head - far : beside == 1 ? head : head + far, false, j);
                expected[c] = beside < 2 ? size_of(entry, j) : 0; /* U < odds */
            }
            for (size_t b = 1; b < 4; b++) { /* filler: zeros */
                for (size_t c = 0; c < DP_NOISE_CANDIDATES; c++) {
                    script[b][2 * c] = v_of(column_of(0), 0);
                    script[b][2 * c + 1] = 0;
                }
            }
            n_blocks = 4;
            block_at = extra_at = 0;
            dp_noise_draw(&t, out, DP_NOISE_BLOCK, &r, &scratch);
            size_t at = 0;
            for (size_t c = 0; c < DP_NOISE_CANDIDATES && at < DP_NOISE_BLOCK; c++) {
                if (expected[c] != 0)
                    assert_int_equal(out[at++], expected[c]);
            }
            assert_true(at == DP_NOISE_BLOCK || out[at] == 0); /* nothing else was accepted */
            n_slow += extra_at / 3;
        }
        assert_int_equal(n_slow, n_middle);
        assert_true(n_slow > 1000);
    }
}

static void without_a_place_every_head_accepts(void **state)
{
    (void)state;
    static const uint64_t list[] = {1, 100, 262143, (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        int64_t x;
        begin(list[i]);
        memset(extra, 0xff, sizeof extra);
        assert_true(accepts(v_of(1, 0), u_of(UINT32_MAX, false, 0), &x));
        assert_int_equal(x, 1);
        assert_true(accepts(v_of(1, 0), u_of(UINT32_MAX, true, 0), &x));
        assert_int_equal(x, -1);
    }
    /* narrow tables take no notice of the place's bits */
    int64_t x;
    begin(262143);
    assert_true(accepts(v_of(7, 0), u_of(5, false, 0xfffff), &x));
    assert_int_equal(x, 7);
}

/* Every head 2^32 - 1 with a place is rejected: one block of 58 gives one draw of ten. The next goes on where it stopped. */
static void a_block_that_is_too_short_is_prolonged(void **state)
{
    (void)state;
    static int64_t out[2 * DP_NOISE_BLOCK];
    begin((uint64_t)1 << 56);
    const uint64_t w = (uint64_t)1 << t.width_bits;
    for (size_t b = 0; b < 4; b++) {
        for (size_t c = 0; c < DP_NOISE_CANDIDATES; c++) {
            bool is_in = b != 1 || c == 30;
            script[b][2 * c] = v_of(1000 + b, 0);
            assert_true(t.threshold[1000 + b] > 0);
            script[b][2 * c + 1] = u_of(is_in ? 0 : UINT32_MAX, false, is_in ? 0 : w - 1);
        }
    }
    n_blocks = 4;
    block_at = extra_at = 0;
    dp_noise_draw(&t, out, DP_NOISE_BLOCK + 10, &r, &scratch);
    assert_int_equal(block_at, 3);
    for (size_t i = 0; i < DP_NOISE_BLOCK; i++)
        assert_int_equal(out[i], size_of(1000, 0));
    assert_int_equal(out[DP_NOISE_BLOCK], size_of(1001, 0));
    for (size_t i = 1; i < 10; i++)
        assert_int_equal(out[DP_NOISE_BLOCK + i], size_of(1002, 0));
    assert_int_equal(out[DP_NOISE_BLOCK + 10], 0); /* untouched */
    for (size_t i = 0; i < sizeof scratch.words / 8; i++)
        assert_true(scratch.words[i] == 0);
    for (size_t i = 0; i < sizeof scratch.draws / 8; i++)
        assert_true(scratch.draws[i] == 0);
}

/* How many random bytes are asked for follows from the number of draws alone, whatever they are. */
static void a_block_takes_the_same_randomness_whatever_it_holds(void **state)
{
    (void)state;
    static int64_t out[DP_NOISE_BLOCK];
    begin((uint64_t)1 << 32);
    for (size_t i = 0; i < 6; i++) {
        const size_t n = (size_t[]){1, 2, 77, 1000, DP_NOISE_BLOCK - 1, DP_NOISE_BLOCK}[i];
        for (size_t c = 0; c < DP_NOISE_CANDIDATES; c++) {
            bool is_out = c % 48 == i; /* up to 43 of them */
            script[0][2 * c] = v_of(is_out ? 1000 : c, 0);
            script[0][2 * c + 1] = is_out ? u_of(UINT32_MAX, false, 255) : 0;
        }
        n_blocks = 4;
        block_at = extra_at = bytes_at = 0;
        dp_noise_draw(&t, out, n, &r, &scratch);
        assert_int_equal(block_at, 1);
        assert_int_equal(bytes_at, 16 * (n + DP_NOISE_SPARE));
        assert_int_equal(extra_at, 0);
    }
    dp_noise_fini(&t);
}

/* --- loops ------------------------------------------------------------------------------------------------------- */

/* Words that are random, or have a place or a head in doubt, or a field at its end. */
static void some_words(uint64_t *words, size_t n_candidates, fl_rng *rng)
{
    for (size_t i = 0; i < n_candidates; i++) {
        uint64_t v = fl_rng_u64(rng), u = fl_rng_u64(rng);
        const size_t entry = fl_rng_below(rng, t.n_entries);
        const uint64_t last = ((uint64_t)1 << t.width_bits) - 1, j = fl_rng_below(rng, 4) == 0 ? last : u & 0xfffff;
        const bool is_whole = t.threshold[entry] >> (64 - t.column_bits) != 0;
        switch (fl_rng_below(rng, 8)) {
        case 0:
            v = v_of(entry, t.threshold[entry] - is_whole);
            break;
        case 1:
            v = v_of(entry, 0);
            if (entry > 0 && (j & last) > 0)
                u = u_of((uint64_t)(odds_of(entry, j & last) >> 96), v & 1, j);
            break;
        case 2:
            u = u_of(UINT32_MAX, true, j);
            break;
        case 3:
            v = fl_rng_below(rng, 2) ? v_of(entry, 0) : UINT64_MAX;
            break;
        default:
            break;
        }
        words[2 * i] = v;
        words[2 * i + 1] = u;
    }
}

/* The loop of 8 candidates gives the draws of the plain one from the same words, and takes as many random numbers: for all
 * powers of two and beside them, and variances in between. */
static void every_loop_gives_the_same_draws(void **state)
{
    (void)state;
    enum { N = 2 * DP_NOISE_CANDIDATES };
    static uint64_t words[2 * N];
    static int64_t plain[N + DP_NOISE_BEYOND + 1], fast[N + DP_NOISE_BEYOND + 1];
    size_t n_asked = 0;
    fl_rng rng;
    if (!dp_noise_has_avx512())
        skip();
    fl_rng_init(&rng, 5, 0);
    for (size_t i = 0; i < EXTRA_MAX; i++)
        extra[i] = fl_rng_u64(&rng);
    for (unsigned k = 0; k < 57 * 4; k++) {
        const uint64_t power = (uint64_t)1 << k / 4,
                       s2 = k % 4 < 3 ? power + k % 4 - 1 : power + fl_rng_below(&rng, power);
        if (s2 < 1 || s2 > DP_NOISE_VARIANCE_MAX)
            continue;
        begin(s2);
        const size_t n_candidates = N / 2 + fl_rng_below(&rng, 17), before = fl_rng_below(&rng, 9);
        some_words(words, n_candidates, &rng);
        memset(plain, 0, sizeof plain);
        memset(fast, 0, sizeof fast);
        extra_at = 0;
        const size_t n = dp_noise_examine(&t, plain, before, words, n_candidates, &r), asked = extra_at;
        extra_at = 0;
        fast[before + n_candidates + DP_NOISE_BEYOND] = 42;
        assert_int_equal(dp_noise_examine_avx512(&t, fast, before, words, n_candidates, &r), n);
        assert_int_equal(extra_at, asked);
        assert_memory_equal(plain, fast, n * sizeof *plain);
        assert_int_equal(fast[before + n_candidates + DP_NOISE_BEYOND], 42);
        n_asked += asked;
    }
    assert_true(n_asked > 100000);
    dp_noise_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_in_the_thresholds_own_digits_is_decided_by_64_more_bits),
        cmocka_unit_test(a_head_in_the_odds_own_digits_is_decided_by_96_more_bits),
        cmocka_unit_test(the_quick_decision_is_the_slow_one),
        cmocka_unit_test(without_a_place_every_head_accepts),
        cmocka_unit_test(a_block_that_is_too_short_is_prolonged),
        cmocka_unit_test(a_block_takes_the_same_randomness_whatever_it_holds),
        cmocka_unit_test(every_loop_gives_the_same_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
