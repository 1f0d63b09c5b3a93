/* The table of the noise sampler, bit by bit, against tests/data/noise_tables.txt (scripts/gen/noise_tables.py). Nothing
 * is random here. */
#include "tests/base/test.h"

#include "base/encode.h"
#include "crypto/hash.h"
#include "privacy/fixed.h"
#include "privacy/noise_table.h"

#include <inttypes.h>

typedef unsigned __int128 u128;

/* The distance to the law that privacy/noise_table.c promises, in units of 2^-128. */
enum { DISTANCE_MAX = 8192 };

static u128 masses[DP_NOISE_ENTRIES_MAX];

static u128 parse_hex(const char *text)
{
    u128 x = 0;
    for (int i = 0; i < 32; i++)
        x = x << 4 | (u128)strtoul((char[]){text[i], 0}, NULL, 16);
    return x;
}

static void check_table(const char *line)
{
    uint64_t s2, width_bits, n, distance;
    char expected[65], hex[65];
    assert_int_equal(sscanf(line, "table %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %64s", &s2, &width_bits, &n,
                            &distance, expected),
                     5);
    memset(masses, 0, sizeof masses);
    assert_int_equal(dp_noise_masses(masses, s2), n);
    assert_int_equal(dp_noise_width_bits(s2), width_bits);
    assert_true(distance <= DISTANCE_MAX);
    fl_sha256_state *hash = fl_sha256_create();
    u128 sum = 0;
    for (size_t i = 0; i < n; i++) {
        char text[40];
        int length = snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64 "\n", (uint64_t)(masses[i] >> 64),
                              (uint64_t)masses[i]);
        fl_sha256_add(hash, text, (size_t)length);
        sum += masses[i];
    }
    assert_true(sum == 0); /* 2^128 */
    fl_hash h = fl_sha256_destroy(hash);
    fl_hex_encode(hex, h.bytes, sizeof h.bytes);
    if (strcmp(hex, expected) != 0)
        fail_msg("S2 = %" PRIu64 ": the masses are not the reference's", s2);
}

static void check_mass(const char *line)
{
    size_t entry;
    char hex[33];
    assert_int_equal(sscanf(line, "mass %zu %32s", &entry, hex), 2);
    assert_true(masses[entry] == parse_hex(hex));
}

/* Within 512 ulp, at the 256th bit after the point. */
static void check_exponential(const char *line)
{
    uint64_t num, den;
    char hex[65];
    assert_int_equal(sscanf(line, "exp %" SCNu64 " %" SCNu64 " %64s", &num, &den, hex), 3);
    u128 high = parse_hex(hex), low = parse_hex(hex + 32);
    dp_fixed expected = {.limb = {(uint64_t)low, (uint64_t)(low >> 64), (uint64_t)high, (uint64_t)(high >> 64), 0}};
    dp_fixed found = dp_fixed_exp_neg(num, den), off;
    off = dp_fixed_below(&found, &expected) ? dp_fixed_sub(expected, found) : dp_fixed_sub(found, expected);
    assert_int_equal(off.limb[4] | off.limb[3] | off.limb[2] | off.limb[1], 0);
    assert_true(off.limb[0] <= 513); /* one for the reference's own rounding */
}

static void every_mass_and_every_exponential_is_the_references(void **state)
{
    (void)state;
    char line[200];
    unsigned n_tables = 0, n_masses = 0, n_exponentials = 0;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/noise_tables.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        n_tables += line[0] == 't';
        n_masses += line[0] == 'm';
        n_exponentials += line[0] == 'e';
        (line[0] == 't' ? check_table : line[0] == 'm' ? check_mass : check_exponential)(line);
    }
    fclose(f);
    assert_true(n_tables >= 14 && n_masses >= 100 && n_exponentials >= 10);
}

/* The columns hold the masses exactly: nothing is lost between the masses and what a candidate meets. */
static void check_columns(uint64_t s2)
{
    static u128 held[DP_NOISE_ENTRIES_MAX];
    dp_noise t;
    assert_int_equal(dp_noise_init(&t, s2, NULL), FL_OK);
    const size_t n = (size_t)1 << t.column_bits;
    const u128 size = (u128)1 << (128 - t.column_bits);
    assert_true(t.n_entries <= n && t.n_entries > n / 2);
    memset(held, 0, sizeof held);
    memset(masses, 0, sizeof masses);
    assert_int_equal(dp_noise_masses(masses, s2), t.n_entries);
    for (size_t i = 0; i < n; i++) {
        u128 threshold = (u128)t.threshold[i] << 64 | t.threshold_low[i];
        assert_true(threshold <= size && t.alias[i] < n);
        held[i] += threshold;
        held[t.alias[i]] += size - threshold;
        const u128 first = threshold >> (80 - t.column_bits); /* 48 bits after the column's */
        assert_int_equal((uint16_t)t.columns[i], t.alias[i]);
        assert_true(t.columns[i] >> 16 == (first >> 48 ? ((uint64_t)1 << 48) - 1 : (uint64_t)first));
        assert_true(first >> 48 == 0 || t.alias[i] == i);
    }
    for (size_t i = 0; i < n; i++)
        assert_true(held[i] == masses[i]);
    dp_noise_fini(&t);
    dp_noise_fini(&t);
}

static void the_columns_hold_the_masses_exactly(void **state)
{
    (void)state;
    static const uint64_t list[] = {1,
                                    2,
                                    3,
                                    5,
                                    6,
                                    100,
                                    65536,
                                    262143,
                                    262144,
                                    1000003,
                                    (uint64_t)1 << 32,
                                    ((uint64_t)1 << 40) + 12345,
                                    ((uint64_t)1 << 56) - 1,
                                    (uint64_t)1 << 56};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check_columns(list[i]);
    dp_noise_fini(NULL);
}

/* What the proofs in noise.c rest on, at every power of two and beside it. */
static void the_bounds_of_the_proofs_hold(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= 56; k++) {
        for (int beside = -1; beside <= 1; beside++) {
            uint64_t s2 = ((uint64_t)1 << k) + (uint64_t)beside;
            if (s2 < 1 || s2 > DP_NOISE_VARIANCE_MAX)
                continue;
            dp_noise t;
            assert_int_equal(dp_noise_init(&t, s2, NULL), FL_OK);
            u128 w = (u128)1 << t.width_bits, d = (u128)(2 * s2) << t.align;
            assert_true(w == 1 || w * w * 65536 <= s2);             /* S/w >= 256 */
            assert_true(w * w * 512 * 512 > s2);                    /* S/w < 512 */
            assert_true(t.n_entries <= 6700 && t.column_bits >= 4); /* 12.9 S */
            assert_true(d >> 63 == 1);
            assert_true(t.reciprocal >> 32 == 0 && (u128)t.reciprocal * d <= (u128)1 << 95);
            assert_true(((u128)t.reciprocal + 2) * d > (u128)1 << 95);
            u128 first = (t.n_entries - 2) * w + 1, place = w - 1;
            assert_true(place * (2 * first + place) * 16 < 2 * (u128)s2); /* g < 1/16 */
            dp_noise_fini(&t);
        }
    }
}

static void fixed_point_arithmetic_is_exact(void **state)
{
    (void)state;
    dp_fixed three = {.limb = {0, 0, 0, 0, 3}}, one = dp_fixed_power(0);
    dp_fixed third = dp_fixed_inverse(three), again = dp_fixed_ratio(one, 1, 3);
    assert_memory_equal(&third, &again, sizeof third);
    for (int i = 0; i < 4; i++)
        assert_true(third.limb[i] == UINT64_C(0x5555555555555555));
    dp_fixed nearly = dp_fixed_mul(third, three), gap = dp_fixed_sub(one, nearly), ulp = dp_fixed_power(-256);
    assert_memory_equal(&gap, &ulp, sizeof gap);
    for (int e = -60; e <= 60; e++) {
        dp_fixed a = dp_fixed_power(e), b = dp_fixed_inverse(a), product = dp_fixed_mul(a, b);
        assert_memory_equal(&product, &one, sizeof one);
    }
    dp_fixed half = dp_fixed_power(-129), less = dp_fixed_sub(half, ulp);
    assert_true(dp_fixed_round_128(&half) == 1 && dp_fixed_round_128(&less) == 0 && dp_fixed_floor_128(&half) == 0);
    dp_fixed whole = dp_fixed_exp_neg(0, 1);
    assert_memory_equal(&whole, &one, sizeof one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_point_arithmetic_is_exact),
        cmocka_unit_test(every_mass_and_every_exponential_is_the_references),
        cmocka_unit_test(the_columns_hold_the_masses_exactly),
        cmocka_unit_test(the_bounds_of_the_proofs_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
