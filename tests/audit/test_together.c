/* Two hospitals' ledgers beside one another: one of them was told something else of the same study. */
#include "audit/audit.h"
#include "base/file.h"
#include "tests/audit/retell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

enum { ROUNDS = 3 };

static void nothing(dp_entry *e)
{
    (void)e;
}

static void another_model(dp_entry *e)
{
    if (e->kind == DP_RESERVE && e->round == 2)
        hash_of(e->model_hash, 'e');
}

static void another_plan(dp_entry *e)
{
    if (e->kind == DP_APPROVE_PLAN || e->kind == DP_RESERVE)
        hash_of(e->plan_hash, 'e');
}

static void cheaper_terms(dp_entry *e)
{
    if (e->kind == DP_RESERVE)
        e->steps += 1;
    for (uint32_t i = 0; e->kind == DP_APPROVE_PLAN && i < e->n_terms; i++)
        e->terms[i].steps += 1;
}

static void another_cohort(dp_entry *e)
{
    if (e->kind == DP_RESERVE && e->round == 3)
        e->cohort += 1;
}

static void another_announce(dp_entry *e) /* the round was opened again with other members: nothing wrong */
{
    another_cohort(e);
    if (e->kind == DP_RESERVE && e->round == 3)
        hash_of(e->announce_hash, 'd');
}

static void another_study(dp_entry *e)
{
    another_plan(e);
    if (e->study[0])
        SET(e->study, "elsewhere");
}

static void lost_and_restored(dp_entry *e)
{
    another_model(e);
    if (e->kind == DP_ACK && e->round == 2) {
        e->kind = DP_BURN;
        SET(e->reason, "restored");
    }
}

static bool edit(void *context, dp_entry *e, size_t n)
{
    (void)n;
    (*(void (**)(dp_entry *))context)(e);
    return true;
}

static void told(ledger_maker *south, void (*change)(dp_entry *))
{
    ledger_maker lines;
    node_ledger(&lines, "south", ROUNDS);
    maker_init(south, "south", MAKER_NODE_SEED);
    (void)retell(south, &lines, edit, &change);
    maker_fini(&lines);
}

/* What is found beside what each ledger has alone. */
static size_t found(fl_buf *text, const ledger_maker *a, const ledger_maker *b)
{
    static audit_evidence e[2];
    audit_evidence *const both[2] = {&e[0], &e[1]};
    fl_err err;
    size_t n = 0, before[2];
    for (int i = 0; i < 2; i++) {
        const ledger_maker *m = i ? b : a;
        assert_int_equal(audit_evidence_take(&e[i], i ? "b" : "a", m->text.bytes, m->text.size, NULL, &err), FL_OK);
        before[i] = e[i].findings.n;
    }
    assert_int_equal(audit_check_together(both, 2, &err), FL_OK);
    fl_buf_clear(text);
    for (int i = 0; i < 2; i++) {
        for (size_t k = before[i]; k < e[i].findings.n; k++, n++)
            fl_buf_printf(text, "%s\n", e[i].findings.items[k].what);
        audit_evidence_fini(&e[i]);
    }
    return n;
}

static void what_two_hospitals_were_told_differently_is_found(void **state)
{
    (void)state;
    static const struct {
        void (*change)(dp_entry *);
        size_t n;
        const char *words;
    } cases[] = {
        {nothing, 0, ""},
        {another_model, 1, "RESERVE of round 2 with another model than entry 9 of the ledger of north"},
        {another_plan, ROUNDS + 1,
         "RESERVE of round 1 under another plan than entry 5 of the ledger of north: eeeeeeeeeeee..., not "},
        {cheaper_terms, ROUNDS + 2,
         "APPROVE_PLAN with other terms than entry 4 of the ledger of north has for this plan"},
        {cheaper_terms, ROUNDS + 2,
         "RESERVE of round 3 with other terms than entry 13 of the ledger of north, under the same plan"},
        {another_cohort, 1, "RESERVE of round 3 in a cohort of "},
        {another_announce, 0, ""},
        {another_study, 0, ""},
        {lost_and_restored, 0, ""},
    };
    ledger_maker north, south;
    fl_buf text;
    fl_buf_init(&text, 1 << 20);
    node_ledger(&north, "north", ROUNDS);
    maker_seal(&north);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        told(&south, cases[i].change);
        const size_t n = found(&text, &north, &south);
        if (n != cases[i].n || !strstr(fl_buf_text(&text), cases[i].words))
            fail_msg("case %zu: %zu findings, expected %zu and \"%s\":\n%s", i, n, cases[i].n, cases[i].words,
                     fl_buf_text(&text));
        maker_fini(&south);
    }
    assert_int_equal(found(&text, &north, &north), 0); /* one hospital twice */
    maker_fini(&north);
    fl_buf_fini(&text);
}

static void verify_and_report_compare_the_ledgers_they_are_given(void **state)
{
    (void)state;
    char dir[] = "/tmp/cordon-together-XXXXXX", path[2][FL_PATH_MAX], program[] = "cordon-audit",
         text_option[] = "--text";
    char verify[] = "verify", report[] = "report";
    char *const calls[2][5] = {{program, verify, path[0], path[1]}, {program, report, text_option, path[0], path[1]}};
    ledger_maker both[2];
    assert_non_null(mkdtemp(dir));
    node_ledger(&both[0], "north", ROUNDS);
    maker_seal(&both[0]);
    for (int told_differently = 0; told_differently < 2; told_differently++) {
        told(&both[1], told_differently ? another_model : nothing);
        for (int i = 0; i < 2; i++) {
            FILE *f = fopen(fl_path(path[i], dir, i ? "south.jsonl" : "north.jsonl"), "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(both[i].text.bytes, 1, both[i].text.size, f), both[i].text.size);
            assert_int_equal(fclose(f), 0);
        }
        for (int c = 0; c < 2; c++) {
            char *out = NULL, *err = NULL, *argv[6];
            size_t n;
            memcpy(argv, calls[c], sizeof calls[c]);
            FILE *to_out = open_memstream(&out, &n), *to_err = open_memstream(&err, &n);
            const int code = fl_cli_run("cordon-audit", audit_commands, 4 + c, argv, to_out, to_err, NULL);
            fclose(to_out);
            fclose(to_err);
            if (code != told_differently ||
                (strstr(out, "RESERVE of round 2 with another model") != NULL) != told_differently)
                fail_msg("%s: %d: %s%s", calls[c][1], code, out, err);
            free(out);
            free(err);
        }
        maker_fini(&both[1]);
    }
    maker_fini(&both[0]);
    unlink(path[0]);
    unlink(path[1]);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_two_hospitals_were_told_differently_is_found),
        cmocka_unit_test(verify_and_report_compare_the_ledgers_they_are_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
