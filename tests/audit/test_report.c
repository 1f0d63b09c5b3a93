/* cordon-audit report: the facts, what is shown of hostile words, and pages that stay small and whole. */
#include "audit/audit.h"
#include "audit/report.h"
#include "base/file.h"
#include "base/json.h"
#include "privacy/budget.h"
#include "tests/audit/well_formed.h"
#include "tests/privacy/ledger_maker.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/cordon-report-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static size_t count_files(bool removes)
{
    size_t n = 0;
    char path[FL_PATH_MAX];
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        if (f->d_name[0] == '.')
            continue;
        n++;
        if (removes)
            unlink(fl_path(path, dir, f->d_name));
    }
    closedir(d);
    return n;
}

static int remove_dir(void **state)
{
    (void)state;
    count_files(true);
    return rmdir(dir);
}

static int empty_dir(void **state)
{
    (void)state;
    count_files(true);
    return 0;
}

static char *path_of(const char *name)
{
    static char paths[8][FL_PATH_MAX];
    static size_t at;
    at = (at + 1) % 8;
    return fl_path(paths[at], dir, name);
}

static void put(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Seals, writes NAME and NAME.pub, and frees. */
static void put_ledger(ledger_maker *m, const char *name)
{
    char pub_name[80];
    fl_buf pub;
    maker_seal(m);
    put(name, m->text.bytes, m->text.size);
    fl_buf_init(&pub, 4096);
    dp_export_public(&pub, m->vkey);
    snprintf(pub_name, sizeof pub_name, "%s.pub", name);
    put(pub_name, pub.bytes, pub.size);
    fl_buf_fini(&pub);
    maker_fini(m);
}

static char *out, *err;
static size_t n_out;

static int run(char *const *words, int n)
{
    char program[] = "cordon-audit", command[] = "report", *argv[16] = {program, command};
    size_t n_err;
    memcpy(argv + 2, words, (size_t)n * sizeof *argv);
    free(out);
    free(err);
    FILE *to_out = open_memstream(&out, &n_out), *to_err = open_memstream(&err, &n_err);
    int code = fl_cli_run("cordon-audit", audit_commands, n + 2, argv, to_out, to_err, NULL);
    fclose(to_out);
    fclose(to_err);
    return code;
}

#define RUN(...) run((char *[]){__VA_ARGS__}, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)))

static char text_option[] = "--text", out_option[] = "-o", coordinator_option[] = "--coordinator";

static void expect(const char *words)
{
    if (!strstr(out, words))
        fail_msg("\"%s\" is not in:\n%.6000s", words, out);
}

static void expect_none(const char *words)
{
    const char *at = strstr(out, words);
    if (at)
        fail_msg("\"%s\" is in: ...%.300s", words, at);
}

static void expect_well_formed(void)
{
    const char *at = not_well_formed(out);
    if (at)
        fail_msg("not well-formed at: %.200s", at);
}

/* --- facts --- */

static void the_facts_are_the_ledgers(void **state)
{
    (void)state;
    ledger_maker m;
    report r = {0};
    node_ledger(&m, "north", 3);
    put_ledger(&m, "north.jsonl");
    char *paths[] = {path_of("north.jsonl")};
    assert_int_equal(report_read(&r, paths, 1, NULL, NULL, NULL), FL_OK);
    assert_int_equal(r.n_hospitals, 1);
    const report_hospital *h = r.hospitals[0];
    const dp_ledger_state *s = dp_replay_state(h->file.evidence.replay);
    assert_string_equal(h->name, "north");
    assert_true(h->has_budget && h->cap == 8 && h->first_cap == 8 && h->delta == 1e-5 && h->order == 8);
    assert_true(h->epsilon == dp_filter_epsilon_spent(&s->filter) && h->epsilon > 0);
    assert_true(h->bounds.is_known && h->bounds.low <= h->bounds.high);
    assert_true(h->bounds.high <= h->epsilon);
    assert_int_equal(h->n_charges, 4);
    assert_int_equal(h->charges[3].mark, CHART_BURN);
    assert_int_equal(h->charges[3].round, 4);
    double minute = h->charges[0].minute; /* 2026-03-01T12:34Z */
    assert_true(minute == 1772368440 / 60);
    assert_int_equal(h->n_studies, 1);
    const report_study *study = &h->studies[0];
    assert_string_equal(study->name, "chest");
    assert_true(study->n_debits == 4 && study->n_acked == 3 && study->n_burned == 1 && study->n_open == 0);
    assert_true(study->n_steps == 40 && study->first_round == 1 && study->last_round == 4 && study->n_missing == 0);
    assert_string_equal(study->noise_multiplier, "1.1");
    assert_true(fabs(study->rdp - s->filter.spent) <= 1e-12 * s->filter.spent);
    dp_filter f = s->filter; /* the budget is asked whether so many rounds fit, and one more does not */
    assert_true(study->rounds_left > 0 && study->rounds_left == dp_filter_room(&f, study->round_rdp, UINT32_MAX));
    assert_int_equal(h->n_approvals, 1);
    assert_int_equal(h->approvals[0].seq, 4);
    assert_int_equal(h->n_released, 3);
    assert_int_equal(h->file.n_reds, 3); /* BURN, REFUSE, CLOSE */
    assert_int_equal(report_findings(&r), 0);
    report_fini(&r);
}

static void numbers_are_rounded_against_us(void **state)
{
    (void)state;
    assert_string_equal(report_epsilon(8).text, "8");
    assert_string_equal(report_epsilon(2.5).text, "2.5");
    assert_string_equal(report_epsilon(2.6411).text, "2.642");
    assert_string_equal(report_epsilon(0.002).text, "0.002");
    assert_string_equal(report_epsilon(0).text, "0");
    assert_string_equal(report_epsilon(INFINITY).text, "without bound");
    assert_string_equal(report_delta(1e-5).text, "0.00001, 1 in 100,000");
    assert_string_equal(report_delta(3e-5).text, "0.00003, 1 in 33,333");
    assert_string_equal(report_factor(1).text, "2.72");
    assert_string_equal(report_factor(8).text, "2,981");
    assert_string_equal(report_factor(20).text, "more than a million");
    assert_string_equal(report_guess(0, 0).text, "50.0 %");
    assert_string_equal(report_guess(1, 0).text, "73.2 %");   /* e / (1 + e) = 0.73106 */
    assert_string_equal(report_guess(0, 0.5).text, "75.0 %"); /* total variation 1/2 */
    assert_string_equal(report_guess(30, 0).text, "more than 99.99 %");
    assert_string_equal(report_suspicion(0).text, "1 in 1000");
    assert_string_equal(report_suspicion(1).text, "1 in 368"); /* 1 + 999 / e */
    assert_string_equal(report_count(1234567).text, "1,234,567");
    report_bounds b = {.is_known = true, .low = 1.23456, .high = 1.23456};
    assert_string_equal(report_between(&b).text, "between 1.2345 and 1.2346");
    b.low = -1;
    assert_string_equal(report_between(&b).text, "at most 1.2346");
}

/* --- what is shown of hostile words --- */

static void approve_as(const char *approver, const char *name)
{
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", 3);
    maker_entry(&m, &e, DP_GENESIS);
    maker_add(&m, &e);
    maker_entry(&m, &e, DP_POLICY);
    maker_add(&m, &e);
    maker_entry(&m, &e, DP_APPROVE_PLAN);
    SET(e.approver, approver);
    maker_add(&m, &e);
    put_ledger(&m, name);
}

static void an_approver_cannot_write_html(void **state)
{
    (void)state;
    approve_as("</td><script>alert('x & \"y\"')</script>", "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 0);
    expect("&lt;/td&gt;&lt;script&gt;alert(&#39;x &amp; &quot;y&quot;&#39;)&lt;/script&gt;");
    expect_none("<script");
    expect_well_formed();
    assert_int_equal(RUN(path_of("l.jsonl"), text_option), 0);
    expect("<script>alert");
}

static void what_cannot_be_seen_is_shown(void **state)
{
    (void)state;
    approve_as("Dr. \xe2\x80\xae"
               "adA\xe2\x80\xac \xe2\x80\x8b\xef\xbb\xbf\xf3\xa0\x81\x81 J\xc3\xb6rg",
               "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 0);
    expect("Dr. [U+202E]adA[U+202C] [U+200B][U+FEFF][U+E0041] J\xc3\xb6rg");
    assert_int_equal(RUN(path_of("l.jsonl"), text_option), 0);
    expect("[U+202E]adA[U+202C]");

    assert_string_equal(audit_show("a\nb\x7f\x1b[31m").text, DOC_QUOTE "a[U+000A]b[U+007F][U+001B][31m" DOC_QUOTE_END);
    assert_string_equal(audit_show("\xc2\x9b \xff \xc3 \xed\xa0\x80 \xc0\xaf").text,
                        DOC_QUOTE "[U+009B] [byte ff] [byte c3] [U+D800] [byte c0][byte af]" DOC_QUOTE_END);
    assert_string_equal(audit_show(DOC_STRONG "x" DOC_QUOTE_END).text, DOC_QUOTE "[U+0003]x[U+0002]" DOC_QUOTE_END);
}

static void long_words_are_cut_between_characters(void **state)
{
    (void)state;
    char text[5000];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xb6", 3);
    audit_shown shown = audit_show(text);
    const char *more = strstr(shown.text, " [and more]" DOC_QUOTE_END);
    assert_non_null(more);
    assert_true((more - shown.text - 1) % 2 == 0); /* whole characters behind the quote mark */
}

static void marks_that_do_not_match_do_no_harm(void **state)
{
    (void)state;
    audit_doc d = {.title = strdup("a " DOC_STRONG_END "<b>")};
    audit_doc_add(&d, DOC_PARA, DOC_PLAIN, "%s", DOC_QUOTE DOC_STRONG "x" DOC_QUOTE_END DOC_MONO "y");
    audit_doc_add(&d, DOC_CELL, DOC_BAD, "a cell without a table");
    fl_buf page;
    fl_buf_init(&page, 1 << 20);
    assert_int_equal(audit_doc_html(&page, &d, NULL), FL_OK);
    free(out);
    out = strdup(fl_buf_text(&page));
    expect_well_formed();
    expect("<p><bdi><strong>x<code>y</code></strong></bdi></p>");
    expect("a cell without a table");
    fl_buf_fini(&page);
    audit_doc_fini(&d);
}

/* --- red entries --- */

static void add(ledger_maker *m, dp_entry *e)
{
    maker_add(m, e);
}

/* Every kind that a reader should see, in a ledger that is in order. */
static void every_red_kind_is_explained(void **state)
{
    (void)state;
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", 3);
    static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_DATASET, DP_APPROVE_PLAN, DP_RESERVE,
                                    DP_STARTED, DP_BURN,   DP_REFUSE,  DP_KEY_ROTATE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        maker_entry(&m, &e, kinds[i]);
        if (kinds[i] == DP_POLICY)
            e.rungs = 2;
        if (kinds[i] == DP_REFUSE)
            SET(e.reason, "over-budget");
        add(&m, &e);
    }
    maker_entry(&m, &e, DP_POLICY); /* raised, as rungs permit, and loosened */
    e.rungs = 2;
    SET(e.epsilon, "12");
    SET(e.min_noise_multiplier, "0.5");
    e.min_cohort = 3;
    add(&m, &e);
    maker_entry(&m, &e, DP_CLOSE);
    add(&m, &e);
    put_ledger(&m, "l.jsonl");
    int code = RUN(path_of("l.jsonl"));
    if (code != 0)
        fail_msg("exit %d:\n%s", code, out);
    static const char *const words[] = {
        "BURN",
        "the node stopped in the middle",
        "REFUSE",
        "would have passed",
        "KEY_ROTATE",
        "CLOSE",
        "POLICY (red)",
        "raised the",
        "The limit was 8 at first",
        "from 0.8 to",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        expect(words[i]);
    expect("epsilon for life from 8 to 12 (permits more)");
    expect("least noise multiplier from 0.8 to 0.5 (permits more)");
    expect("fewest hospitals in a round from 2 to 3 (permits less)");
    expect_well_formed();
}

static void other_releases_and_restores_are_shown(void **state)
{
    (void)state;
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", 3);
    static const dp_kind kinds[] = {DP_GENESIS,       DP_POLICY,  DP_APPROVE_PLAN, DP_RESERVE,
                                    DP_OTHER_RELEASE, DP_STARTED, DP_RESTORE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        maker_entry(&m, &e, kinds[i]);
        add(&m, &e);
    }
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 1); /* what the RESTORE owes was never charged */
    expect("RESTORE (red)");
    expect("a witness knew a ledger of 77 entries; of these, this one had lost 1 debit<");
    expect("OTHER_RELEASE");
    expect("noised integers, noise multiplier");
    expect("never charged");
    expect_well_formed();
}

/* Phases that were approved with their terms are no surprise on the way. */
static void a_plan_with_phases_is_no_change_of_terms(void **state)
{
    (void)state;
    static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN, DP_RESERVE, DP_BURN, DP_RESERVE, DP_BURN};
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", 3);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        maker_entry(&m, &e, kinds[i]);
        e.n_terms = 2;
        e.terms[0].rounds = 1;
        e.terms[1] = e.terms[0];
        e.terms[1].noise_variance = dp_variance_for(2000000, e.clip_units);
        e.round = i < 5 ? 1 : 2;
        debit_of(e.debit, e.round);
        if (i >= 5) {
            e.noise_variance = e.terms[1].noise_variance;
            SET(e.noise_multiplier, "2");
        }
        maker_add(&m, &e);
    }
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 0);
    expect("each phase of the plan has terms of its own");
    expect_none("terms changed on the way");
    expect_well_formed();
}

/* Whatever verify finds, report tells: the same words, entry and reason; first of all that there is something. */
static void a_ledger_that_does_not_verify_says_so_first(void **state)
{
    (void)state;
    static dp_entry e;
    ledger_maker m;
    maker_init(&m, "north", 3);
    static const dp_kind kinds[] = {DP_GENESIS, DP_POLICY, DP_RESERVE, DP_RELEASE, DP_RELEASE, DP_GENESIS};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        maker_entry(&m, &e, kinds[i]);
        if (kinds[i] == DP_RESERVE)
            SET(e.clip_norm, "3");
        add(&m, &e);
    }
    put("l.jsonl", m.text.bytes, m.text.size); /* not sealed */
    maker_fini(&m);
    assert_int_equal(RUN(path_of("l.jsonl"), text_option), 1);
    assert_true(strncmp(out, "NOT VERIFIED.", 13) == 0);
    expect("ALARM: NOT VERIFIED: ");
    assert_int_equal(RUN(path_of("l.jsonl")), 1);
    expect("<h1 class=\"title bad\">NOT VERIFIED.");
    expect_none("verdict good");
    char *page = strdup(out), verify[] = "verify", program[] = "cordon-audit";
    char *argv[] = {program, verify, path_of("l.jsonl"), NULL};
    size_t n, n_findings = 0;
    char *text = NULL;
    FILE *to_out = open_memstream(&text, &n);
    assert_int_equal(fl_cli_run("cordon-audit", audit_commands, 3, argv, to_out, to_out, NULL), 1);
    fclose(to_out);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "entry ", 6) != 0 && strncmp(line, "ledger: ", 8) != 0)
            continue;
        char *what = strstr(line, ": ") + 2;
        fl_buf wanted;
        fl_buf_init(&wanted, 4096);
        audit_xml(&wanted, what, strcspn(what, ":")); /* up to a colon: what the page has in one cell */
        if (!strstr(page, fl_buf_text(&wanted)))
            fail_msg("the page lacks: %s", fl_buf_text(&wanted));
        fl_buf_fini(&wanted);
        n_findings++;
    }
    assert_true(n_findings >= 5);
    free(text);
    free(page);
}

/* --- several ledgers --- */

static void several_hospitals_add_up(void **state)
{
    (void)state;
    static const char *const names[] = {"east", "north", "west"};
    char wanted[200];
    ledger_maker m;
    report r = {0};
    for (unsigned i = 0; i < 3; i++) {
        char name[20];
        node_ledger(&m, names[i], i + 2);
        snprintf(name, sizeof name, "%s.jsonl", names[i]);
        put_ledger(&m, name);
    }
    char *paths[] = {path_of("west.jsonl"), path_of("east.jsonl"), path_of("north.jsonl")};
    assert_int_equal(report_read(&r, paths, 3, NULL, NULL, NULL), FL_OK);
    double all = 0;
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(r.hospitals[i]->name, names[i]);
        all += r.hospitals[i]->epsilon;
    }
    double two = all - r.hospitals[0]->epsilon; /* east has the fewest rounds */
    report_fini(&r);
    assert_int_equal(run(paths, 3), 0);
    char *first = strdup(out);
    expect("west and north, the two with the largest epsilon");
    snprintf(wanted, sizeof wanted, ">%s<", report_epsilon(two).text);
    expect(wanted);
    snprintf(wanted, sizeof wanted, ">%s<", report_epsilon(all).text);
    expect(wanted);
    expect(">0.00002, 1 in 50,000<");
    expect(">0.00003, 1 in 33,333<");
    expect("Missing: the coordinator");
    expect_well_formed();
    char *other_order[] = {paths[2], paths[0], paths[1]};
    assert_int_equal(run(other_order, 3), 0);
    assert_string_equal(first, out); /* the same files, the same bytes */
    free(first);
    char *twice[] = {paths[0], paths[0]};
    assert_int_equal(run(twice, 2), 2);
    assert_non_null(strstr(err, "a second ledger of west"));
}

static void a_coordinators_ledger_tells_of_the_others(void **state)
{
    (void)state;
    static const char *const parties[] = {"north", "south"};
    ledger_maker m;
    coordinator_ledger(&m, parties, 2, 3);
    put_ledger(&m, "hub.jsonl");
    node_ledger(&m, "north", 3);
    put_ledger(&m, "north.jsonl");
    assert_int_equal(RUN(path_of("north.jsonl"), coordinator_option, path_of("hub.jsonl")), 0);
    expect("Compared with the ledger of the coordinator, hub, in both directions: 3 updates");
    expect("Missing: the ledgers of 2 hospitals "); /* south, and one that sends nothing */
    expect("nothing that the coordinator knows of");
    expect("epsilon ");
    expect(" or more at delta ");
    expect("Complete.");
    char *with_option = strdup(out);
    assert_int_equal(RUN(path_of("hub.jsonl"), path_of("north.jsonl")), 0); /* wherever it stands */
    assert_string_equal(with_option, out);
    free(with_option);
    assert_int_equal(RUN(path_of("hub.jsonl")), 0);
    expect("Privacy report: the coordinator hub");
    expect("Only the coordinator&#39;s ledger was given");
    expect_well_formed();

    node_ledger(&m, "north", 2); /* the coordinator knows of a third update */
    put_ledger(&m, "north.jsonl");
    assert_int_equal(RUN(path_of("north.jsonl"), coordinator_option, path_of("hub.jsonl")), 1);
    expect("for which there is no RELEASE here");
    expect("The coordinator received something that this ledger does not account for.");
}

/* --- small and whole --- */

static void a_large_ledger_gives_a_small_page(void **state)
{
    (void)state;
    enum { ROUNDS = 1200 };
    static dp_entry e;
    ledger_maker m;
    node_ledger(&m, "north", 1);
    maker_fini(&m);
    maker_init(&m, "north", 3);
    static const dp_kind first[] = {DP_GENESIS, DP_POLICY};
    for (size_t i = 0; i < 2; i++) {
        maker_entry(&m, &e, first[i]);
        add(&m, &e);
    }
    for (unsigned i = 1; i <= ROUNDS; i++) { /* studies, approvals, reasons without end; nothing is acknowledged */
        char name[32];
        snprintf(name, sizeof name, "s%u", i % 200);
        static const dp_kind kinds[] = {DP_APPROVE_PLAN, DP_DATASET, DP_RESERVE, DP_STARTED, DP_BURN, DP_REFUSE};
        for (size_t j = 0; j < sizeof kinds / sizeof kinds[0]; j++) {
            maker_entry(&m, &e, kinds[j]);
            SET(e.study, kinds[j] == DP_DATASET ? "" : name);
            e.round = i;
            debit_of(e.debit, i);
            snprintf(e.reason, sizeof e.reason, "reason-%u", i);
            snprintf(e.t, sizeof e.t, "2026-03-%02uT%02u:00Z", 1 + i / 50, i / 5 % 24);
            if (kinds[j] == DP_DATASET)
                snprintf(e.dataset, sizeof e.dataset, "d%u", i);
            add(&m, &e);
        }
    }
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 1); /* d1, d2, .. have no POLICY; the budget ends */
    expect(" more.");
    expect_well_formed();
    if (n_out > 300000)
        fail_msg("%zu bytes", n_out);
    assert_int_equal(RUN(path_of("l.jsonl"), text_option), 1);
    assert_true(n_out < 300000);
}

static void a_picture_of_many_points_is_small(void **state)
{
    (void)state;
    enum { N = 100000 };
    audit_chart c = {.id = "c", .title = "t <", .description = "d & d", .x_name = "x", .x_last = N, .n_lines = 1};
    c.has_burns = true;
    c.lines[0] = (chart_line){
        .name = "\"n\"", .points = calloc(N, sizeof *c.lines[0].points), .n = N, .is_total = true};
    for (size_t i = 0; i < N; i++)
        c.lines[0].points[i] = (chart_point){
            .x = (double)i, .y = i == N / 2 ? INFINITY : (double)i, .mark = CHART_BURN};
    fl_buf svg;
    fl_buf_init(&svg, 1 << 24);
    audit_chart_svg(&svg, &c);
    free(out);
    out = strdup(fl_buf_text(&svg));
    expect_well_formed();
    expect("<title id=\"c-t\">t &lt;</title>");
    expect("<desc id=\"c-d\">d &amp; d</desc>");
    expect_none("inf");
    expect_none("nan");
    assert_true(svg.size < 30000 && !svg.failed);
    fl_buf_fini(&svg);
    audit_chart_fini(&c);
}

static void text_keeps_to_its_width(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 3);
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl"), text_option), 0);
    for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
        size_t width = 0;
        for (const char *p = line; *p; p++)
            width += (*p & 0xc0) != 0x80;
        if (width > 100 && strchr(line + 12, ' '))
            fail_msg("%zu columns: %s", width, line);
        assert_true(line[strlen(line) - 1] != ' ');
    }
}

static void json_has_the_numbers_and_the_words(void **state)
{
    (void)state;
    char json_option[] = "--json";
    ledger_maker m;
    fl_json *j = NULL;
    double epsilon = 0, cap = 0;
    int64_t burned = 0;
    node_ledger(&m, "north", 2);
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl"), json_option), 0);
    assert_int_equal(fl_json_parse(&j, out, n_out, "out", NULL), FL_OK);
    assert_string_equal(fl_json_text(j, "verdict"), "verified");
    assert_int_equal(fl_json_count(fl_json_member(j, "findings")), 0);
    fl_json *h = fl_json_at(fl_json_member(j, "hospitals"), 0), *study = fl_json_at(fl_json_member(h, "studies"), 0);
    assert_true(fl_json_real(h, "epsilon", &epsilon) && fl_json_real(h, "epsilon_cap", &cap));
    assert_true(epsilon > 0 && epsilon <= cap && cap == 8);
    assert_true(fl_json_int(study, "burned", &burned) && burned == 1);
    fl_json *first = fl_json_at(fl_json_member(j, "blocks"), 0);
    assert_string_equal(fl_json_text(first, "kind"), "verdict");
    assert_string_equal(fl_json_text(first, "tone"), "good");
    assert_true(strncmp(fl_json_text(first, "text"), "VERIFIED. The ledger of north", 29) == 0);
    fl_json_free(j);
}

static void a_file_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 1);
    put_ledger(&m, "l.jsonl");
    assert_int_equal(RUN(path_of("l.jsonl")), 0);
    char *page = strdup(out);
    assert_int_equal(RUN(path_of("l.jsonl"), out_option, path_of("r.html")), 0);
    assert_int_equal(n_out, 0);
    fl_buf file;
    fl_buf_init(&file, 1 << 24);
    assert_int_equal(fl_file_read(&file, path_of("r.html"), NULL), FL_OK);
    assert_string_equal(fl_buf_text(&file), page);
    assert_int_equal(count_files(false), 3); /* ledger, key, report: nothing half */

    put("no.jsonl", "hello\n", 6);
    assert_int_equal(RUN(path_of("no.jsonl"), out_option, path_of("r.html")), 2);
    fl_buf_clear(&file);
    assert_int_equal(fl_file_read(&file, path_of("r.html"), NULL), FL_OK);
    assert_string_equal(fl_buf_text(&file), page); /* the old one stays */
    assert_int_equal(RUN(path_of("l.jsonl"), out_option, path_of("missing/r.html")), 2);
    fl_buf_fini(&file);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_facts_are_the_ledgers, empty_dir),
        cmocka_unit_test(numbers_are_rounded_against_us),
        cmocka_unit_test_teardown(an_approver_cannot_write_html, empty_dir),
        cmocka_unit_test_teardown(what_cannot_be_seen_is_shown, empty_dir),
        cmocka_unit_test(long_words_are_cut_between_characters),
        cmocka_unit_test(marks_that_do_not_match_do_no_harm),
        cmocka_unit_test_teardown(every_red_kind_is_explained, empty_dir),
        cmocka_unit_test_teardown(other_releases_and_restores_are_shown, empty_dir),
        cmocka_unit_test_teardown(a_plan_with_phases_is_no_change_of_terms, empty_dir),
        cmocka_unit_test_teardown(a_ledger_that_does_not_verify_says_so_first, empty_dir),
        cmocka_unit_test_teardown(several_hospitals_add_up, empty_dir),
        cmocka_unit_test_teardown(a_coordinators_ledger_tells_of_the_others, empty_dir),
        cmocka_unit_test_teardown(a_large_ledger_gives_a_small_page, empty_dir),
        cmocka_unit_test(a_picture_of_many_points_is_small),
        cmocka_unit_test_teardown(text_keeps_to_its_width, empty_dir),
        cmocka_unit_test_teardown(json_has_the_numbers_and_the_words, empty_dir),
        cmocka_unit_test_teardown(a_file_is_written_whole_or_not_at_all, empty_dir),
    };
    int failed = cmocka_run_group_tests(tests, make_dir, remove_dir);
    free(out);
    free(err);
    return failed;
}
