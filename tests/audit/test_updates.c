/* verify --updates: released bytes that hold their noise, and bytes that do not. Noise is seeded, so each case is what it is. */
#include "audit/audit.h"
#include "audit/updates.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/privacy/ledger_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 12, WEIGHTS = 2000, PROBE = 3000, COORDINATES = WEIGHTS + PROBE, STEPS = 4 };

static char dir[64];
static int64_t update[ROUNDS][COORDINATES];
static char files[ROUNDS][FL_PATH_MAX];

static uint64_t variance(void)
{
    return dp_variance_for(1100000, 1 << 16);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/cordon-updates-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROUNDS; i++)
        unlink(files[i]);
    return rmdir(dir);
}

/* Honest updates: noise of STEPS steps everywhere, and patients who pull the weights. */
static void draw(uint64_t seed)
{
    fl_rng r;
    fl_rng_init(&r, seed, 3);
    double sigma = sqrt((double)variance() * STEPS);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t j = 0; j < COORDINATES; j++)
            update[i][j] = llround(sigma * fl_rng_normal(&r)) + (j < WEIGHTS ? (int64_t)(i + j) * 20 : 0);
    }
}

/* The ledger that released them, and the folder with their bytes. */
static void release(audit_evidence *e)
{
    static dp_entry entry;
    static uint8_t bytes[4 * COORDINATES];
    static const dp_kind first[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN},
                         each[] = {DP_RESERVE, DP_STARTED, DP_RELEASE};
    ledger_maker m;
    fl_err err;
    maker_init(&m, "north", MAKER_NODE_SEED);
    for (size_t i = 0; i < 3; i++) {
        maker_entry(&m, &entry, first[i]);
        entry.terms[0].steps = STEPS;
        entry.terms[0].coordinates = COORDINATES;
        maker_add(&m, &entry);
    }
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        for (size_t j = 0; j < COORDINATES; j++) {
            int32_t value = (int32_t)update[round - 1][j];
            memcpy(bytes + 4 * j, &value, 4);
        }
        fl_hash hash = fl_sha256(bytes, sizeof bytes);
        for (size_t k = 0; k < 3; k++) {
            maker_entry(&m, &entry, each[k]);
            debit_of(entry.debit, round);
            entry.round = round;
            entry.steps = STEPS;
            entry.coordinates = COORDINATES;
            entry.probe = PROBE;
            entry.update_bits = 32;
            entry.bytes = sizeof bytes;
            dp_hash_text(entry.update_hash, &hash);
            maker_add(&m, &entry);
        }
        unlink(files[round - 1]);
        fl_path(files[round - 1], dir, entry.update_hash);
        FILE *f = fopen(files[round - 1], "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, sizeof bytes, f), sizeof bytes);
        assert_int_equal(fclose(f), 0);
    }
    maker_seal(&m);
    *e = (audit_evidence){0};
    assert_int_equal(audit_evidence_take(e, "north", m.text.bytes, m.text.size, NULL, &err), FL_OK);
    assert_int_equal(e->findings.n, 0);
    maker_fini(&m);
}

/* words NULL: no finding. */
static audit_updates check(const char *words)
{
    audit_evidence e;
    audit_updates u;
    fl_err err;
    release(&e);
    assert_int_equal(audit_check_updates(&u, &e, dir, &err), FL_OK);
    bool found = false;
    for (size_t i = 0; i < e.findings.n; i++)
        found |= words && strstr(e.findings.items[i].what, words);
    if (words ? !found : e.findings.n > 0)
        fail_msg("expected %s, found %zu: %s", words ? words : "nothing", e.findings.n,
                 e.findings.n ? e.findings.items[0].what : "");
    audit_evidence_fini(&e);
    return u;
}

static void honest_updates_pass(void **state)
{
    (void)state;
    draw(1);
    audit_updates u = check(NULL);
    assert_true(u.released == ROUNDS && u.here == ROUNDS && u.tested == ROUNDS && u.compared == PROBE);
    assert_true(fabs(u.ratio - 1) < 0.02 && u.power > 0.999 && u.pairs == ROUNDS * (ROUNDS - 1) / 2);
}

static void a_shortfall_of_a_twentieth_is_found_in_all_updates_together(void **state)
{
    (void)state;
    draw(2);
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t j = WEIGHTS; j < COORDINATES; j++)
            update[i][j] = llround(0.95 * (double)update[i][j]);
    }
    check("all updates together: 9");
}

static void one_update_without_noise_is_found(void **state)
{
    (void)state;
    draw(3);
    memset(&update[5][WEIGHTS], 0, PROBE * sizeof update[5][0]);
    check("are all the same");
    draw(3);
    for (size_t j = WEIGHTS; j < COORDINATES; j++)
        update[5][j] /= 2;
    check("% of the claimed noise in 3000 integers of pure noise (chance");
    draw(3);
    for (size_t j = WEIGHTS; j < COORDINATES; j++)
        update[5][j] += llround(sqrt((double)variance()));
    check("does not lie around zero");
    draw(3);
    for (size_t j = 0; j < WEIGHTS; j++) /* the probe is honest, the weights are bare */
        update[7][j] = (int64_t)j;
    check("weights and noise together are");
}

static void noise_that_comes_again_is_found(void **state)
{
    (void)state;
    draw(4);
    memcpy(&update[9][WEIGHTS], &update[2][WEIGHTS], PROBE * sizeof update[9][0]); /* other weights, same noise */
    check("has the very noise of");
    draw(4);
    for (size_t j = WEIGHTS; j < COORDINATES; j++)
        update[9][j] = -update[2][j];
    check("repeats that of");
    draw(4);
    fl_rng r; /* one step of four is the same in two updates: their correlation is 1/4 */
    fl_rng_init(&r, 8, 8);
    for (size_t j = WEIGHTS; j < COORDINATES; j++) {
        int64_t shared = llround(sqrt((double)variance()) * fl_rng_normal(&r));
        update[0][j] = llround(sqrt(0.75) * (double)update[0][j]) + shared;
        update[11][j] = llround(sqrt(0.75) * (double)update[11][j]) + shared;
    }
    check("repeats that of");
}

static void other_bytes_are_found_and_missing_ones_are_counted(void **state)
{
    (void)state;
    audit_evidence e;
    audit_updates u;
    fl_err err;
    draw(5);
    release(&e);
    FILE *f = fopen(files[3], "r+b");
    assert_non_null(f);
    fputc('x', f);
    fclose(f);
    assert_int_equal(unlink(files[4]), 0);
    assert_int_equal(audit_check_updates(&u, &e, dir, &err), FL_OK);
    assert_true(u.released == ROUNDS && u.here == ROUNDS - 1 && u.tested == ROUNDS - 2);
    assert_int_equal(e.findings.n, 1);
    assert_non_null(strstr(e.findings.items[0].what, "has another hash"));
    assert_int_equal(audit_check_updates(&u, &e, "/nowhere/at/all", &err), FL_ENOTFOUND);
    audit_evidence_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_updates_pass),
        cmocka_unit_test(a_shortfall_of_a_twentieth_is_found_in_all_updates_together),
        cmocka_unit_test(one_update_without_noise_is_found),
        cmocka_unit_test(noise_that_comes_again_is_found),
        cmocka_unit_test(other_bytes_are_found_and_missing_ones_are_counted),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
