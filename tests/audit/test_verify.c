/* cordon-audit verify on whole files, through the same table of commands as the program. */
#include "audit/audit.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/privacy/ledger_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/cordon-audit-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"ledger.jsonl", "ledger.jsonl.pub", "hub.jsonl", "hub.jsonl.pub", "key.pub"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[FL_PATH_MAX];
        unlink(fl_path(path, dir, names[i]));
    }
    return rmdir(dir);
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[FL_PATH_MAX];
    FILE *f = fopen(fl_path(path, dir, name), "wb"); /* fl_file_write's fsync is too slow for thousands of files */
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put_key(const char *name, const char *vkey)
{
    fl_buf text;
    fl_buf_init(&text, 4096);
    dp_export_public(&text, vkey);
    put(name, text.bytes, text.size);
    fl_buf_fini(&text);
}

static void take(const char *name)
{
    char path[FL_PATH_MAX];
    unlink(fl_path(path, dir, name));
}

/* Runs it; what it printed is in *out and *err until the next call. Options are names of files in dir. */
static char *out, *err;

static int verify(const char *ledger, const char *key, const char *coordinator, bool json)
{
    char path[3][FL_PATH_MAX], program[] = "cordon-audit", command[] = "verify", key_option[] = "--key",
                               coordinator_option[] = "--coordinator", json_option[] = "--json";
    char *argv[10] = {program, command, fl_path(path[0], dir, ledger)};
    int argc = 3;
    size_t n;
    if (key) {
        argv[argc++] = key_option;
        argv[argc++] = fl_path(path[1], dir, key);
    }
    if (coordinator) {
        argv[argc++] = coordinator_option;
        argv[argc++] = fl_path(path[2], dir, coordinator);
    }
    if (json)
        argv[argc++] = json_option;
    free(out);
    free(err);
    FILE *to_out = open_memstream(&out, &n), *to_err = open_memstream(&err, &n);
    int code = fl_cli_run("cordon-audit", audit_commands, argc, argv, to_out, to_err, NULL);
    fclose(to_out);
    fclose(to_err);
    return code;
}

static void expect_finding(const char *ledger, const char *key, const char *coordinator, const char *words)
{
    int code = verify(ledger, key, coordinator, false);
    if (code != 1 || !strstr(out, words) || !strstr(out, "\nfindings\n"))
        fail_msg("expected exit 1 and \"%s\", got %d: %s%s", words, code, out, err);
}

static void a_sealed_ledger_is_verified(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 3);
    maker_seal(&m);
    put("ledger.jsonl", m.text.bytes, m.text.size);

    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 0);
    assert_non_null(strstr(out, "key from GENESIS"));
    assert_non_null(strstr(out, "\nverified\n"));
    put_key("ledger.jsonl.pub", m.vkey);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 0);
    assert_non_null(strstr(out, "ledger.jsonl.pub"));
    take("ledger.jsonl.pub");
    put_key("key.pub", m.vkey);
    assert_int_equal(verify("ledger.jsonl", "key.pub", NULL, false), 0);

    assert_int_equal(verify("ledger.jsonl", NULL, NULL, true), 0);
    fl_json *j = NULL;
    int64_t entries;
    double epsilon, delta;
    assert_int_equal(fl_json_parse(&j, out, strlen(out), "out", NULL), FL_OK);
    assert_string_equal(fl_json_text(j, "verdict"), "verified");
    assert_true(fl_json_int(j, "entries", &entries) && entries == (int64_t)m.seq);
    assert_true(fl_json_real(j, "epsilon", &epsilon) && epsilon > 0 && epsilon <= 8);
    assert_true(fl_json_real(j, "delta", &delta) && delta == 1e-5);
    assert_int_equal(fl_json_count(fl_json_member(j, "findings")), 0);
    fl_json *study = fl_json_at(fl_json_member(j, "studies"), 0);
    assert_string_equal(fl_json_text(study, "study"), "chest");
    fl_json_free(j);
    maker_fini(&m);
}

/* Exports of a real study of four rounds, of the programs that wrote older versions of the lines: read for ever. */
static void verify_old(const char *node, const char *coordinator, unsigned version, const char *epsilon)
{
    char option[] = "--coordinator", program[] = "cordon-audit", command[] = "verify", first[600], second[600];
    snprintf(first, sizeof first, "%s", node);
    snprintf(second, sizeof second, "%s", coordinator);
    char *argv[] = {program, command, first, option, second, NULL};
    size_t n;
    free(out);
    free(err);
    FILE *to_out = open_memstream(&out, &n), *to_err = open_memstream(&err, &n);
    int code = fl_cli_run("cordon-audit", audit_commands, 5, argv, to_out, to_err, NULL);
    fclose(to_out);
    fclose(to_err);
    if (code != 0)
        fail_msg("%d: %s%s", code, out, err);
    assert_non_null(strstr(out, epsilon));
    assert_non_null(strstr(out, "\nverified\n"));

    for (int i = 0; i < 2; i++) { /* and the node itself would go on from it, in the newest version */
        fl_buf text;
        fl_buf_init(&text, 1 << 20);
        assert_int_equal(fl_file_read(&text, i == 0 ? node : coordinator, NULL), FL_OK);
        const char *last = strstr(fl_buf_text(&text), "\n{\"checkpoint\"");
        assert_non_null(last);
        dp_replay *r = replay_text(fl_buf_text(&text), (size_t)(last + 1 - fl_buf_text(&text)), DP_REPLAY_STRICT, NULL);
        const dp_ledger_state *s = dp_replay_state(r);
        assert_true(s->n_findings == 0 && s->version == version);
        dp_entry *e = calloc(1, sizeof *e);
        e->kind = DP_EXPORT;
        snprintf(e->node, sizeof e->node, "%s", s->node);
        snprintf(e->t, sizeof e->t, "%s", s->t);
        assert_int_equal(dp_replay_would(r, e, NULL), FL_OK);
        free(e);
        dp_replay_destroy(r);
        fl_buf_fini(&text);
    }
}

static void a_ledger_of_an_older_version_is_verified(void **state)
{
    (void)state;
    static const char folder[] = CORDON_SOURCE_DIR "/tests/data/ledger-v";
    static const char *const epsilons[] = {"epsilon 2.6428 of 8", "epsilon 3.6418 of 8"};
    for (unsigned v = 1; v <= 2; v++) {
        char node[500], coordinator[500];
        snprintf(node, sizeof node, "%s%u/alder.jsonl", folder, v);
        snprintf(coordinator, sizeof coordinator, "%s%u/coordinator.jsonl", folder, v);
        verify_old(node, coordinator, v, epsilons[v - 1]);
    }
}

/* A key as a PEM alone is taken for the key of the ledger's party. */
static void a_pem_is_a_key_too(void **state)
{
    (void)state;
    ledger_maker m, other;
    char pem[256];
    node_ledger(&m, "north", 1);
    maker_seal(&m);
    maker_init(&other, "north", 99);
    put("ledger.jsonl", m.text.bytes, m.text.size);
    fl_sign_public_pem(pem, m.key.public_key);
    put("key.pub", pem, strlen(pem));
    assert_int_equal(verify("ledger.jsonl", "key.pub", NULL, false), 0);
    fl_sign_public_pem(pem, other.key.public_key);
    put("key.pub", pem, strlen(pem));
    expect_finding("ledger.jsonl", "key.pub", NULL, "is not the ledger's");
    put_key("key.pub", other.vkey);
    expect_finding("ledger.jsonl", "key.pub", NULL, "is not the ledger's");
    put("key.pub", "hello\n", 6);
    assert_int_equal(verify("ledger.jsonl", "key.pub", NULL, false), 2);
    maker_fini(&m);
    maker_fini(&other);
}

/* Bytes all over a whole export: never verified, never a crash. Every bit of every byte: test_tamper.c. */
static void any_one_byte_changed_is_rejected(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 0);
    maker_seal(&m);
    for (size_t i = 0; i < m.text.size; i += 7) {
        static const uint8_t masks[] = {0x01, 0x20, 0x80};
        uint8_t byte = m.text.bytes[i];
        m.text.bytes[i] = byte ^ masks[i % 3];
        put("ledger.jsonl", m.text.bytes, m.text.size);
        int code = verify("ledger.jsonl", NULL, NULL, false);
        m.text.bytes[i] = byte;
        if (code != 1 && code != 2)
            fail_msg("byte %zu: exit %d: %s", i, code, out);
    }
    put("ledger.jsonl", m.text.bytes, m.text.size);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 0);
    maker_fini(&m);
}

static void any_line_dropped_and_any_cut_is_rejected(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 2);
    maker_seal(&m);
    const char *text = fl_buf_text(&m.text), *end = text + m.text.size;
    for (const char *line = text; line < end;) {
        const char *next = strchr(line, '\n') + 1;
        fl_buf other;
        fl_buf_init(&other, 1 << 20);
        fl_buf_add(&other, text, (size_t)(line - text));
        fl_buf_add(&other, next, (size_t)(end - next));
        put("ledger.jsonl", other.bytes, other.size);
        assert_in_range(verify("ledger.jsonl", NULL, NULL, false), 1, 2);
        put("ledger.jsonl", text, (size_t)(next - text) - 1); /* cut off inside and after the line */
        assert_in_range(verify("ledger.jsonl", NULL, NULL, false), 1, 2);
        if (next < end) {
            put("ledger.jsonl", text, (size_t)(next - text));
            expect_finding("ledger.jsonl", NULL, NULL, "no checkpoint line");
        }
        fl_buf_fini(&other);
        line = next;
    }
    maker_fini(&m);
}

/* Cut off and sealed again by the ledger's owner: only another witness can see that; sealed by somebody else is seen. */
static void a_checkpoint_of_somebody_else_is_rejected(void **state)
{
    (void)state;
    ledger_maker m, thief;
    node_ledger(&m, "north", 1);
    maker_init(&thief, "north", 66);
    fl_sign_key mine = m.key;
    m.key = thief.key;
    maker_seal(&m);
    m.key = mine;
    put("ledger.jsonl", m.text.bytes, m.text.size);
    expect_finding("ledger.jsonl", NULL, NULL, "another key");
    maker_fini(&m);
    maker_fini(&thief);
}

/* A checkpoint line that holds nothing is none: whoever has no key could write it under any lines. */
static void an_empty_checkpoint_is_rejected(void **state)
{
    (void)state;
    ledger_maker m;
    node_ledger(&m, "north", 1);
    fl_err why;
    assert_int_equal(dp_export_line(&m.text, "", m.vkey, &why), FL_OK);
    fl_buf_add_text(&m.text, "\n");
    put("ledger.jsonl", m.text.bytes, m.text.size);
    put_key("ledger.jsonl.pub", m.vkey);
    expect_finding("ledger.jsonl", NULL, NULL, "no checkpoint line");
    take("ledger.jsonl.pub");
    maker_fini(&m);
}

static void what_is_no_ledger_is_exit_2(void **state)
{
    (void)state;
    put("ledger.jsonl", "", 0);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 2);
    put("ledger.jsonl", "hello\nworld\n", 12);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, true), 2);
    assert_non_null(strstr(err, "not a ledger"));
    assert_string_equal(out, "");
    static const char zeros[5000];
    put("ledger.jsonl", zeros, sizeof zeros);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 2);
    assert_int_equal(verify("missing.jsonl", NULL, NULL, false), 2);

    ledger_maker m; /* a ledger with what is none behind it: a few lines are findings, and there is an end to them */
    node_ledger(&m, "north", 1);
    fl_buf_add_text(&m.text, "\n\n");
    put("ledger.jsonl", m.text.bytes, m.text.size);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 1);
    for (unsigned i = 0; i < 1000; i++)
        fl_buf_add_text(&m.text, "\n");
    put("ledger.jsonl", m.text.bytes, m.text.size);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 2);
    assert_non_null(strstr(err, "no entries"));
    maker_fini(&m);
}

static void over_budget_is_a_finding(void **state)
{
    (void)state;
    ledger_maker m;
    static dp_entry e;
    maker_init(&m, "north", 3);
    static const dp_kind first[] = {DP_GENESIS, DP_POLICY, DP_APPROVE_PLAN};
    for (size_t i = 0; i < 3; i++) {
        maker_entry(&m, &e, first[i]);
        maker_add(&m, &e);
    }
    maker_entry(&m, &e, DP_RESERVE);
    e.steps = 1000000000;
    maker_add(&m, &e);
    maker_seal(&m);
    put("ledger.jsonl", m.text.bytes, m.text.size);
    expect_finding("ledger.jsonl", NULL, NULL, "entry 4: RESERVE exceeds the budget");
    maker_fini(&m);
}

/* --- against the coordinator --- */

static void both_sides_agree(void **state)
{
    (void)state;
    static const char *const parties[] = {"north", "south"};
    ledger_maker node, hub;
    node_ledger(&node, "north", 3);
    maker_seal(&node);
    coordinator_ledger(&hub, parties, 2, 3);
    maker_seal(&hub);
    put("ledger.jsonl", node.text.bytes, node.text.size);
    put("hub.jsonl", hub.text.bytes, hub.text.size);
    assert_int_equal(verify("hub.jsonl", NULL, NULL, false), 0);
    assert_non_null(strstr(out, "coordinator's ledger of hub"));
    assert_int_equal(verify("ledger.jsonl", NULL, "hub.jsonl", false), 0);
    /* wrong way round is wrong usage */
    assert_int_equal(verify("hub.jsonl", NULL, "hub.jsonl", false), 2);
    assert_int_equal(verify("ledger.jsonl", NULL, "ledger.jsonl", false), 2);
    assert_int_equal(verify("ledger.jsonl", NULL, "missing.jsonl", false), 2);
    maker_fini(&node);
    maker_fini(&hub);
}

static void an_update_on_one_side_only_is_found(void **state)
{
    (void)state;
    static const char *const parties[] = {"north"};
    ledger_maker node, hub;
    node_ledger(&node, "north", 3);
    maker_seal(&node);
    put("ledger.jsonl", node.text.bytes, node.text.size);
    coordinator_ledger(&hub, parties, 1, 2); /* one round less than the node has an ACK for */
    maker_seal(&hub);
    put("hub.jsonl", hub.text.bytes, hub.text.size);
    expect_finding("ledger.jsonl", NULL, "hub.jsonl", "the coordinator has no RECEIVED");
    maker_fini(&hub);
    coordinator_ledger(&hub, parties, 1, 5); /* two rounds that the node never released */
    maker_seal(&hub);
    put("hub.jsonl", hub.text.bytes, hub.text.size);
    expect_finding("ledger.jsonl", NULL, "hub.jsonl", "no RELEASE here");
    maker_fini(&hub);
    coordinator_ledger(&hub, parties, 1, 3); /* never sealed */
    put("hub.jsonl", hub.text.bytes, hub.text.size);
    expect_finding("ledger.jsonl", NULL, "hub.jsonl", "the coordinator's ledger: there is no checkpoint");
    maker_fini(&hub);
    maker_fini(&node);
}

/* A hospital that rewrites its ledger, consistently and signed with its own key, cannot fit the heads others hold. */
static void a_rewritten_ledger_does_not_fit_the_heads_others_hold(void **state)
{
    (void)state;
    static const char *const parties[] = {"north"};
    ledger_maker hub, original, rewritten;
    coordinator_ledger(&hub, parties, 1, 2);
    maker_seal(&hub);
    put("hub.jsonl", hub.text.bytes, hub.text.size);
    node_ledger(&original, "north", 2);

    /* the same entries an hour later: every line changes, the old heads are kept */
    maker_init(&rewritten, "north", 3);
    static dp_entry e;
    fl_err error;
    for (const char *p = fl_buf_text(&original.text); *p; p = strchr(p, '\n') + 1) {
        assert_int_equal(dp_entry_parse(&e, p, (size_t)(strchr(p, '\n') - p), &error), FL_OK);
        memcpy(e.t, "2026-03-01T13:34Z", 18);
        maker_add(&rewritten, &e);
    }
    maker_seal(&rewritten);
    put("ledger.jsonl", rewritten.text.bytes, rewritten.text.size);
    expect_finding("ledger.jsonl", NULL, NULL, "ACK saw other lines up to entry 7");
    expect_finding("ledger.jsonl", NULL, "hub.jsonl", "the coordinator's RECEIVED saw other lines up to entry 7");
    maker_fini(&rewritten);

    /* cut off after the first round, and sealed again */
    maker_init(&rewritten, "north", 3);
    const char *p = fl_buf_text(&original.text);
    for (int i = 0; i < 8; i++, p = strchr(p, '\n') + 1) {
        assert_int_equal(dp_entry_parse(&e, p, (size_t)(strchr(p, '\n') - p), &error), FL_OK);
        maker_add(&rewritten, &e);
    }
    maker_seal(&rewritten);
    put("ledger.jsonl", rewritten.text.bytes, rewritten.text.size);
    assert_int_equal(verify("ledger.jsonl", NULL, NULL, false), 0); /* alone it cannot be seen */
    expect_finding("ledger.jsonl", NULL, "hub.jsonl", "saw a head of 11 entries, this ledger has 8");
    maker_fini(&rewritten);
    maker_fini(&original);
    maker_fini(&hub);
}

/* The script of docs/ledger.md accepts what verify accepts, and sees a changed byte. e2e_tamper has real ledgers for it. */
static int run_by_hand(void)
{
    char command[3 * FL_PATH_MAX];
    snprintf(command, sizeof command,
             "'%s/scripts/verify-ledger' '%s/ledger.jsonl' '%s/ledger.jsonl.pub' > '%s/by-hand.out' 2>&1",
             CORDON_SOURCE_DIR, dir, dir, dir);
    int status = system(command);
    take("by-hand.out");
    return status;
}

static void the_documented_commands_check_a_ledger(void **state)
{
    (void)state;
    ledger_maker m;
    if (system("command -v bash openssl sha256sum awk basenc > /dev/null 2>&1") != 0)
        skip();
    for (unsigned rounds = 0; rounds < 3; rounds++) { /* trees of 9, 13 and 17 lines */
        node_ledger(&m, "north", rounds);
        maker_seal(&m);
        put_key("ledger.jsonl.pub", m.vkey);
        put("ledger.jsonl", m.text.bytes, m.text.size);
        assert_int_equal(run_by_hand(), 0);
        strstr((char *)m.text.bytes, "\"BURN\"")[2] = 'A'; /* in the middle */
        put("ledger.jsonl", m.text.bytes, m.text.size);
        assert_int_not_equal(run_by_hand(), 0);
        strstr((char *)m.text.bytes, "\"BARN\"")[2] = 'U';
        strstr((char *)m.text.bytes, "\"CLOSE\"")[2] = 'K'; /* the last line: only the tree sees it */
        put("ledger.jsonl", m.text.bytes, m.text.size);
        assert_int_not_equal(run_by_hand(), 0);
        maker_fini(&m);
    }
    maker_init(&m, "north", 50); /* another key */
    put_key("ledger.jsonl.pub", m.vkey);
    maker_fini(&m);
    node_ledger(&m, "north", 0);
    maker_seal(&m);
    put("ledger.jsonl", m.text.bytes, m.text.size);
    assert_int_not_equal(run_by_hand(), 0);
    take("ledger.jsonl.pub");
    maker_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sealed_ledger_is_verified),
        cmocka_unit_test(a_ledger_of_an_older_version_is_verified),
        cmocka_unit_test(a_pem_is_a_key_too),
        cmocka_unit_test(any_one_byte_changed_is_rejected),
        cmocka_unit_test(any_line_dropped_and_any_cut_is_rejected),
        cmocka_unit_test(a_checkpoint_of_somebody_else_is_rejected),
        cmocka_unit_test(an_empty_checkpoint_is_rejected),
        cmocka_unit_test(what_is_no_ledger_is_exit_2),
        cmocka_unit_test(over_budget_is_a_finding),
        cmocka_unit_test(both_sides_agree),
        cmocka_unit_test(an_update_on_one_side_only_is_found),
        cmocka_unit_test(the_documented_commands_check_a_ledger),
        cmocka_unit_test(a_rewritten_ledger_does_not_fit_the_heads_others_hold),
    };
    int failed = cmocka_run_group_tests(tests, make_dir, remove_dir);
    free(out);
    free(err);
    return failed;
}
