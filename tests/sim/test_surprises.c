/*
 * What training may meet and nobody expects: none of it changes what a node sends, its sizes, its times and its lines
 * (tests/sim/look.h), and none of it stops a round.
 */
#include "base/rng.h"
#include "privacy/sample.h"
#include "tests/base/test.h"
#include "tests/sim/look.h"

#include <math.h>

static fl_err err;
static nn_plan plan;

typedef enum surprise {
    ORDINARY,
    CONSTANT,  /* every picture is one grey */
    ONE_CLASS, /* everybody has label a */
    NO_CLASS,  /* nobody has a label of the study */
    ONE_PATIENT /* with all the pictures */,
    NOBODY,
    NOBODY_TRAINS,
    NOBODY_VALIDATES,
    ALL_LOST, /* rows without pixels */
    N_SURPRISES
} surprise;

static const char *const names[] = {"ordinary",    "constant images", "one class",        "no class", "one patient",
                                    "no patients", "none to train",   "none to validate", "all lost"};

static void fill(hospital *h, surprise what)
{
    h->n = 0;
    for (uint32_t k = 0; k < 9; k++) {
        picture p = {what == ONE_PATIENT ? 1 : k, k % 3 ? NODE_SPLIT_TRAIN : NODE_SPLIT_VAL, k % 2 ? "a" : "b",
                     what == CONSTANT ? 0 : 200, what == ALL_LOST};
        if (what == ONE_PATIENT)
            p.split = NODE_SPLIT_TRAIN;
        if (what == ONE_CLASS)
            p.label = "a";
        if (what == NO_CLASS)
            p.label = "something else";
        if (what == NOBODY || (what == NOBODY_TRAINS && p.split == NODE_SPLIT_TRAIN) ||
            (what == NOBODY_VALIDATES && p.split == NODE_SPLIT_VAL))
            continue;
        hospital_add(h, p, 2);
    }
}

static void make_plan(const char *rate)
{
    char ini[1000];
    snprintf(ini, sizeof ini,
             "[study]\nname = surprises\nclasses = a, b\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
             "[rounds]\ncount = 3\nquorum = 1\ndeadline_s = 60\nlocal_steps = 2\n[privacy]\nepsilon = 8\n"
             "delta = 0.00001\nsampling_rate = %s\nnoise_multiplier = 4\nclip_norm = 1\n[metrics]\nevery = 3\n"
             "noise_multiplier = 50\nwhat = histogram+classes+quality\n",
             rate);
    assert_ok(nn_plan_from_study(&plan, ini, "surprises", ".", &err), err);
}

/* Everything that could be wrong with a number. */
static void spoil(nn_dataset *d)
{
    static const float wrong[] = {NAN, INFINITY, -INFINITY, 3e38f, -0.0f, 1e-44f};
    const size_t n = nn_dataset_image_size(d) * d->n_images;
    for (size_t i = 0; i < n; i++)
        if (i % 5 == 0)
            d->images[i] = wrong[i / 5 % (sizeof wrong / sizeof wrong[0])];
}

static fl_buf ordinary(hospital *h)
{
    const look_at at = {.plan = &plan, .hospital = h};
    fill(h, ORDINARY);
    fl_buf first = look(&at); /* a program says some lines once */
    fl_buf_fini(&first);
    return look(&at);
}

static void agree(const fl_buf *usual, const look_at *at, const char *what)
{
    fl_buf seen = look(at);
    assert_non_null(strstr(fl_buf_text(&seen), "kind=RELEASE"));
    look_must_agree(usual, &seen, what);
    fl_buf_fini(&seen);
}

static void no_images_change_what_is_sent(void **state)
{
    (void)state;
    hospital *h = calloc(1, sizeof *h);
    assert_non_null(h);
    make_plan("0.5");
    fl_buf usual = ordinary(h);
    for (surprise what = CONSTANT; what < N_SURPRISES; what++) {
        fill(h, what);
        agree(&usual, &(look_at){.plan = &plan, .hospital = h}, names[what]);
    }
    fill(h, ORDINARY);
    agree(&usual, &(look_at){.plan = &plan, .hospital = h, .spoil = spoil}, "numbers that are none");
    fl_buf_fini(&usual);
    free(h);
}

/* At this rate no patient is ever in a step. */
static void an_empty_sample_is_a_step_like_any_other(void **state)
{
    (void)state;
    hospital *h = calloc(1, sizeof *h);
    assert_non_null(h);
    make_plan("0.000001");
    fl_buf usual = ordinary(h);
    fill(h, NOBODY);
    agree(&usual, &(look_at){.plan = &plan, .hospital = h}, "an empty sample of nobody");
    fl_buf_fini(&usual);
    free(h);
}

/* ---- cancelled ---------------------------------------------------------------------------------------------------- */

static atomic_bool cancel;
static unsigned samples, cancel_at; /* at this call of dp_sample_patients, from 1; 0: never */

size_t __real_dp_sample_patients(uint32_t *chosen, uint32_t n, dp_rate rate, fl_csprng *random);
size_t __wrap_dp_sample_patients(uint32_t *chosen, uint32_t n, dp_rate rate, fl_csprng *random);
size_t __wrap_dp_sample_patients(uint32_t *chosen, uint32_t n, dp_rate rate, fl_csprng *random)
{
    if (++samples == cancel_at)
        atomic_store(&cancel, true);
    return __real_dp_sample_patients(chosen, n, rate, random);
}

static void not_yet(void)
{
    atomic_store(&cancel, false);
}

static unsigned count(const fl_buf *seen, const char *word)
{
    unsigned n = 0;
    for (const char *at = fl_buf_text(seen); (at = strstr(at, word)); at++)
        n++;
    return n;
}

/* In the middle of the second training: its debit is burned, nothing of it is sent; and so it looks whoever the patients
 * are. */
static void a_cancelled_step_sends_nothing_and_is_burned(void **state)
{
    (void)state;
    static const surprise kinds[] = {CONSTANT, ONE_PATIENT, NOBODY};
    hospital *h = calloc(1, sizeof *h);
    assert_non_null(h);
    make_plan("0.5");
    cancel_at = 0;
    fl_buf uncancelled = ordinary(h);
    const look_at at = {.plan = &plan, .hospital = h, .begins = not_yet, .cancel = &cancel};
    cancel_at = 4; /* the second step of the second training */
    samples = 0;
    fl_buf usual = look(&at);
    assert_int_equal(count(&usual, "kind=BURN"), 1);
    assert_int_equal(count(&usual, "kind=RESERVE"), count(&uncancelled, "kind=RESERVE"));
    assert_int_equal(count(&usual, "kind=RELEASE"), count(&uncancelled, "kind=RELEASE") - 1);
    assert_int_equal(count(&usual, "kind=RECEIVED"), count(&uncancelled, "kind=RECEIVED") - 1);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fill(h, kinds[i]);
        samples = 0;
        agree(&usual, &at, names[kinds[i]]);
    }
    fl_buf_fini(&usual);
    fl_buf_fini(&uncancelled);
    free(h);
}

int main(void)
{
    setenv("FL_LOG_LEVEL", "debug", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_images_change_what_is_sent),
        cmocka_unit_test(an_empty_sample_is_a_step_like_any_other),
        cmocka_unit_test(a_cancelled_step_sends_nothing_and_is_burned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
