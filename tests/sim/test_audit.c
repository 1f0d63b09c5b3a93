/*
 * The empirical audit in both directions. The linker puts a function of ours in front of the sampler of the noise
 * (--wrap): the program that stands here is the honest one until a test says otherwise.
 *
 * 80,000 canaries, 2400 guesses, one step of everybody, noise multiplier 2, delta 1e-5: claim 1.993. A guess is right with
 * probability 0.784, and with half the noise with 0.939; a bound above the claim takes 0.894 of them. That is 13 standard
 * deviations from the one and 9.4 from the other: either test fails by chance with probability below 1e-20.
 * CORDON_AUDIT_TRIALS repeats each.
 */
#include "privacy/noise_crew.h"
#include "sim/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool noise_is_halved;

void __real_dp_noise_crew_draw(dp_noise_crew *c, int64_t *out, size_t n);
void __wrap_dp_noise_crew_draw(dp_noise_crew *c, int64_t *out, size_t n);

void __wrap_dp_noise_crew_draw(dp_noise_crew *c, int64_t *out, size_t n)
{
    fl_csprng r;
    if (!noise_is_halved) {
        __real_dp_noise_crew_draw(c, out, n);
        return;
    }
    fl_csprng_init(&r);
    dp_noise_fill(out, n, c->table.s2 / 4, &r);
    fl_csprng_fini(&r);
}

static sim_audit_options usual(void)
{
    const char *trials = getenv("CORDON_AUDIT_TRIALS");
    return (sim_audit_options){.canaries = 80000,
                               .guesses = 2400,
                               .steps = 1,
                               .trials = trials ? (uint32_t)strtoul(trials, NULL, 10) : 1,
                               .sampling_rate = "1",
                               .noise_multiplier = "2",
                               .delta = "1e-5",
                               .confidence = 0.95,
                               .seed = 1};
}

static sim_audit_result *audit(const sim_audit_options *o)
{
    fl_err err;
    sim_audit_result *r = calloc(1, sizeof *r);
    assert_non_null(r);
    if (sim_audit(r, o, &err) != FL_OK)
        fail_msg("%s", err.text);
    return r;
}

static void our_training_stays_below_its_claim_and_the_attack_is_no_dummy(void **state)
{
    (void)state;
    sim_audit_options o = usual();
    sim_audit_result *r = audit(&o);
    assert_true(r->claim > 1.99 && r->claim < 2.0);
    assert_true(sim_audit_holds(r) && r->epsilon < r->claim);
    assert_true(sim_audit_has_power(r) && r->reach > 2 * r->claim);
    assert_true(r->epsilon > 0.6); /* 0.70 of the guesses: 9 standard deviations below */
    free(r);
}

static void half_the_noise_behind_the_ledgers_back_is_found(void **state)
{
    (void)state;
    sim_audit_options o = usual();
    noise_is_halved = true;
    sim_audit_result *r = audit(&o);
    noise_is_halved = false;
    assert_true(r->claim < 2.0); /* the accountant knows nothing of it */
    assert_false(sim_audit_holds(r));
    free(r);
}

/* Two steps of half of them: bounds about 0.9, and 1.65 with half the noise, standard deviations 0.07 and 0.09. */
static void steps_and_sampling_are_audited_too(void **state)
{
    (void)state;
    sim_audit_options o = usual();
    o.canaries = 30000;
    o.guesses = 1200;
    o.sampling_rate = "0.5";
    o.noise_multiplier = "1.5";
    o.steps = 2;
    sim_audit_result *r = audit(&o);
    assert_true(sim_audit_holds(r) && r->epsilon > 0.3);
    double honest = r->epsilon;
    free(r);
    noise_is_halved = true;
    r = audit(&o);
    noise_is_halved = false;
    assert_true(r->epsilon > honest);
    free(r);
}

static void a_configuration_without_power_says_so(void **state)
{
    (void)state;
    sim_audit_options o = usual();
    o.canaries = 1000;
    o.guesses = 50;
    sim_audit_result *r = audit(&o);
    assert_false(sim_audit_has_power(r));
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    sim_audit_print(out, r, &o);
    fclose(out);
    assert_non_null(strstr(text, "warning    half the noise would not be seen"));
    free(text);
    free(r);
}

/* Of 30 bounds at 95 % the fifth largest holds at 95 %: P[Bin(30, 0.05) >= 5] = 0.016, >= 4 would be 0.061. */
static void many_trials_are_one_verdict(void **state)
{
    (void)state;
    sim_audit_options o = usual();
    o.canaries = 500;
    o.guesses = 60;
    o.trials = 30;
    o.delta = "1e-6";
    sim_audit_result *r = audit(&o);
    assert_int_equal(r->n_trials, 30);
    assert_int_equal(r->rank, 5);
    int above = 0, equal = 0;
    for (int i = 0; i < 30; i++) {
        above += r->bound[i] > r->epsilon;
        equal += r->bound[i] == r->epsilon;
    }
    assert_true(above <= 4 && above + equal >= 5);
    free(r);
}

static void terms_out_of_range_are_refused(void **state)
{
    (void)state;
    sim_audit_result *r = calloc(1, sizeof *r);
    fl_err err;
    sim_audit_options o = usual();
    o.guesses = 80001;
    assert_int_equal(sim_audit(r, &o, &err), FL_EFORMAT);
    o = usual();
    o.sampling_rate = "1.5";
    assert_int_equal(sim_audit(r, &o, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "--sampling-rate"));
    o = usual();
    o.noise_multiplier = "0";
    assert_int_equal(sim_audit(r, &o, &err), FL_EFORMAT);
    o = usual();
    o.delta = "nan";
    assert_int_equal(sim_audit(r, &o, &err), FL_EFORMAT);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_training_stays_below_its_claim_and_the_attack_is_no_dummy),
        cmocka_unit_test(half_the_noise_behind_the_ledgers_back_is_found),
        cmocka_unit_test(steps_and_sampling_are_audited_too),
        cmocka_unit_test(a_configuration_without_power_says_so),
        cmocka_unit_test(many_trials_are_one_verdict),
        cmocka_unit_test(terms_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
