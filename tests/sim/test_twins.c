/*
 * Two data sets that differ in one patient, and the same public parameters: whoever sees the ledgers, the logs and the
 * wire (tests/sim/look.h) cannot tell which of them a hospital has, but for what the noise covers.
 *
 * CORDON_PAIRS: how many pairs (default 16; the long form is 1000).
 */
#include "base/rng.h"
#include "tests/base/test.h"
#include "tests/sim/look.h"

enum { N_CHANGES = 8 };

static fl_err err;
static nn_plan plan;

/* The patient in question is number 0; everybody else is the same in both. */
typedef enum change {
    GONE,        /* from the training split */
    GONE_ALONE,  /* the only one of the validation split */
    GONE_CLASS,  /* the only one with label b */
    FLAT,        /* pictures without contrast instead */
    MANY,        /* thirty pictures instead of one */
    OTHER_LABEL, /* of no class of the plan instead */
    LOST,        /* pixels that are no longer there instead */
    OTHER_SPLIT  /* in the test split instead, which nobody looks at */
} change;

static void fill(hospital *h, change how, bool is_twin, uint64_t seed)
{
    fl_rng r;
    fl_rng_init(&r, seed, 1);
    h->n = 0;
    const uint32_t others = 3 + (uint32_t)fl_rng_below(&r, 10);
    for (uint32_t k = 1; k <= others; k++) {
        const uint32_t split = fl_rng_below(&r, 3) == 0 && how != GONE_ALONE ? NODE_SPLIT_VAL : NODE_SPLIT_TRAIN;
        const char *label = fl_rng_below(&r, 2) && how != GONE_CLASS ? "b" : "a";
        hospital_add(h, (picture){k, split, label, 200, false}, 1 + (uint32_t)fl_rng_below(&r, 3));
    }
    picture p = {0, NODE_SPLIT_TRAIN, "a", 200, false};
    if (how == GONE_ALONE)
        p.split = NODE_SPLIT_VAL;
    if (how == GONE_CLASS)
        p.label = "b";
    if (is_twin && how <= GONE_CLASS)
        return;
    if (is_twin && how == FLAT)
        p.contrast = 0;
    if (is_twin && how == OTHER_LABEL)
        p.label = "no class of the plan";
    if (is_twin && how == OTHER_SPLIT)
        p.split = NODE_SPLIT_TEST;
    p.is_lost = is_twin && how == LOST;
    hospital_add(h, p, is_twin && how == MANY ? 30 : 1);
}

static void make_plan(void)
{
    static const char ini[] =
        "[study]\nname = twins\nclasses = a, b\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
        "[rounds]\ncount = 3\nquorum = 2\ndeadline_s = 60\nlocal_steps = 2\n[privacy]\nepsilon = 8\ndelta = 0.00001\n"
        "sampling_rate = 0.5\nclip_norm = 1\n[metrics]\nevery = 3\nwhat = histogram+classes+quality\n";
    assert_ok(nn_plan_from_study(&plan, ini, "twins", ".", &err), err);
}

static void one_patient_more_or_less_cannot_be_seen(void **state)
{
    (void)state;
    const char *text = getenv("CORDON_PAIRS");
    const uint64_t n = text ? strtoull(text, NULL, 10) : 2 * N_CHANGES;
    hospital *h = calloc(2, sizeof *h);
    assert_non_null(h);
    fill(&h[0], GONE, false, 0);
    fl_buf first = look(&(look_at){.plan = &plan, .hospital = &h[0]}); /* a program says some lines once */
    fl_buf_fini(&first);
    for (uint64_t pair = 0; pair < n; pair++) {
        const change how = (change)(pair % N_CHANGES);
        fill(&h[0], how, false, pair);
        fill(&h[1], how, true, pair);
        char what[60];
        fl_buf a = look(&(look_at){.plan = &plan, .hospital = &h[0]}),
               b = look(&(look_at){.plan = &plan, .hospital = &h[1]});
        snprintf(what, sizeof what, "change %d, pair %llu", (int)how, (unsigned long long)pair);
        assert_non_null(strstr(fl_buf_text(&a), "kind=OTHER_RELEASE"));
        assert_non_null(strstr(fl_buf_text(&a), "kind=RELEASE"));
        look_must_agree(&a, &b, what);
        fl_buf_fini(&a);
        fl_buf_fini(&b);
    }
    free(h);
}

int main(void)
{
    setenv("FL_LOG_LEVEL", "debug", 1);
    make_plan();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_patient_more_or_less_cannot_be_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
