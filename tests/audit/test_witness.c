/* cordon-audit witness and its store, through the same table of commands as the program. */
#include "audit/audit.h"
#include "audit/store.h"
#include "base/file.h"
#include "privacy/cosign.h"
#include "tests/audit/retell.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static char *out, *err;

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/cordon-witness-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char path[FL_PATH_MAX];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] != '.')
            unlink(fl_path(path, dir, e->d_name));
    }
    if (d)
        closedir(d);
    free(out);
    free(err);
    return rmdir(dir);
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[FL_PATH_MAX];
    assert_int_equal(fl_file_write(fl_path(path, dir, name), bytes, n, 0644, NULL), FL_OK);
}

static void put_sealed(const char *name, ledger_maker *m)
{
    maker_seal(m);
    put(name, m->text.bytes, m->text.size);
    maker_fini(m);
}

/* "witness add store north.jsonl --members": words that are names in dir or options. */
static int run(const char *command, const char *const *words)
{
    static char paths[8][FL_PATH_MAX];
    char program[] = "cordon-audit", first[20], second[20] = "";
    char *argv[12] = {program, first};
    int argc = 2;
    sscanf(command, "%19s %19s", first, second);
    if (second[0])
        argv[argc++] = second;
    for (size_t i = 0; words[i]; i++) {
        if (words[i][0] == '-' || words[i][0] == '=') /* an option, or the value of one */
            snprintf(paths[i], sizeof paths[i], "%s", words[i] + (words[i][0] == '='));
        else
            fl_path(paths[i], dir, words[i]);
        argv[argc++] = paths[i];
    }
    size_t n;
    free(out);
    free(err);
    FILE *to_out = open_memstream(&out, &n), *to_err = open_memstream(&err, &n);
    int code = fl_cli_run("cordon-audit", audit_commands, argc, argv, to_out, to_err, NULL);
    fclose(to_out);
    fclose(to_err);
    return code;
}
#define RUN(command, ...) run(command, (const char *const[]){__VA_ARGS__, NULL})

static void expect(int code, int wanted, const char *words)
{
    if (code != wanted || (!strstr(out, words) && !strstr(err, words)))
        fail_msg("expected exit %d and \"%s\", got %d: %s%s", wanted, words, code, out, err);
}

static void heads_are_recorded_and_a_ledger_that_grew_still_fits(void **state)
{
    (void)state;
    ledger_maker m;
    expect(RUN("witness init", "store"), 0, "no heads yet");
    expect(RUN("witness init", "store"), 1, "is there already");
    node_ledger(&m, "north", 0);
    put_sealed("closed.jsonl", &m);
    maker_init(&m, "north", MAKER_NODE_SEED);
    maker_add_kind(&m, DP_GENESIS, 1);
    maker_add_kind(&m, DP_POLICY, 1);
    put_sealed("two.jsonl", &m);
    expect(RUN("verify", "two.jsonl", "--witness", "store"), 0, "no head of this ledger: nothing was compared");
    expect(RUN("witness add", "store", "two.jsonl"), 0, "head of 2 entries recorded");
    expect(RUN("witness add", "store", "two.jsonl"), 0, "known");
    expect(RUN("witness add", "store", "closed.jsonl"), 0, "recorded");
    expect(RUN("witness check", "store", "closed.jsonl"), 0, "2 heads in the store: verified");
    expect(RUN("witness list", "store"), 0, "2 heads");
    expect(RUN("witness list", "store", "--json"), 0, "\"signed\": true");
    expect(RUN("verify", "closed.jsonl", "--witness", "store"), 0, "compared with 2 head(s) of the store");
    /* rolled back */
    expect(RUN("witness check", "store", "two.jsonl"), 1, "this ledger has 2");
    expect(RUN("verify", "two.jsonl", "--witness", "store"), 1, "this ledger has 2");
    expect(RUN("witness add", "store", "two.jsonl"), 1, "this ledger has 2");
    expect(RUN("witness list", "store"), 0, "2 heads");
    expect(RUN("witness check", "missing", "two.jsonl"), 2, "missing");
}

static bool an_hour_later(void *context, dp_entry *e, size_t n)
{
    (void)context;
    if (n >= 2)
        memcpy(e->t, "2026-03-01T13:34Z", 18);
    return true;
}

static void a_rewritten_or_forked_ledger_is_caught(void **state)
{
    (void)state;
    ledger_maker m, original;
    RUN("witness init", "forks");
    node_ledger(&m, "north", 1);
    put_sealed("right.jsonl", &m);
    expect(RUN("witness add", "forks", "right.jsonl"), 0, "recorded");
    node_ledger(&original, "north", 1);
    maker_init(&m, "north", MAKER_NODE_SEED);
    assert_true(retell(&m, &original, an_hour_later, NULL) > 0);
    put("rewritten.jsonl", m.text.bytes, m.text.size);
    expect(RUN("witness check", "forks", "rewritten.jsonl"), 1, "over other lines up to entry");
    expect(RUN("witness add", "forks", "rewritten.jsonl"), 1, "over other lines up to entry");
    maker_fini(&m);
    maker_fini(&original);
    /* somebody else under the same name, with a key of his own */
    maker_init(&m, "north", 77);
    maker_add_kind(&m, DP_GENESIS, 1);
    put_sealed("thief.jsonl", &m);
    expect(RUN("witness check", "forks", "thief.jsonl"), 1, "signed with a key that is none of this ledger's");
    /* not sealed: no evidence of anything */
    node_ledger(&m, "east", 1);
    put("open.jsonl", m.text.bytes, m.text.size);
    expect(RUN("witness add", "forks", "open.jsonl"), 1, "is not sealed");
    expect(RUN("witness check", "forks", "open.jsonl"), 1, "no checkpoint line");
    maker_fini(&m);
    put("nothing.jsonl", "{}\n", 3);
    expect(RUN("witness add", "forks", "nothing.jsonl"), 2, "not a ledger");
    expect(RUN("witness list", "forks"), 0, "1 heads");
}

/* The note alone, as it comes by e-mail. */
static void put_note(const char *name, const ledger_maker *m)
{
    fl_buf note;
    char origin[DP_ORIGIN_MAX];
    fl_hash root = dp_tree_root(&m->tree);
    fl_buf_init(&note, 4096);
    dp_origin(origin, m->party);
    dp_checkpoint_note(&note, origin, m->tree.size, &root, &m->key);
    put(name, note.bytes, note.size);
    fl_buf_fini(&note);
}

static void a_head_alone_is_recorded_with_a_key(void **state)
{
    (void)state;
    ledger_maker m, other;
    fl_buf key;
    fl_buf_init(&key, 4096);
    RUN("witness init", "notes");
    node_ledger(&m, "north", 1);
    put_note("head", &m);
    dp_export_public(&key, m.vkey);
    put("north.pub", key.bytes, key.size);
    fl_buf_fini(&key);
    expect(RUN("witness add", "notes", "head"), 1, "knows no key of north");
    expect(RUN("witness add", "notes", "head", "--key", "north.pub"), 0, "recorded, from note");
    expect(RUN("witness add", "notes", "head"), 0, "known");
    /* the same size, other lines: two ledgers */
    maker_init(&other, "north", MAKER_NODE_SEED);
    while (other.tree.size < m.tree.size)
        maker_add_kind(&other, DP_EXPORT, 1);
    put_note("fork", &other);
    expect(RUN("witness add", "notes", "fork"), 1, "over other lines");
    put("garbage", "hello\n", 6);
    expect(RUN("witness add", "notes", "garbage"), 2, "neither a ledger nor a signed head");
    put_sealed("right.jsonl", &m);
    expect(RUN("witness check", "notes", "right.jsonl"), 0, "1 heads in the store: verified");
    maker_fini(&other);
}

static void every_hospital_of_a_coordinator_comes_in_one_go_and_is_cosigned(void **state)
{
    (void)state;
    static const char *const parties[] = {"north", "south"};
    char path[FL_PATH_MAX];
    ledger_maker m;
    witness_store s;
    fl_buf bytes;
    expect(RUN("witness init", "hospitals", "--name", "=not a name"), 2, "--name");
    expect(RUN("witness init", "hospitals", "--name", "=auditor"), 0, "cordon/auditor+");
    coordinator_ledger(&m, parties, 2, 3);
    put_sealed("hub.jsonl", &m);
    expect(RUN("witness add", "hospitals", "hub.jsonl", "--members"), 0,
           "south: head of 16 entries recorded, from hub");
    assert_non_null(strstr(out, "north: head of 15 entries recorded, from hub")); /* signed, in the last RECEIVED */
    node_ledger(&m, "north", 3);
    put_sealed("north.jsonl", &m);
    expect(RUN("witness check", "hospitals", "north.jsonl", "hub.jsonl"), 0,
           "north: 21 entries, 2 heads in the store: verified");
    expect(RUN("witness add", "hospitals", "north.jsonl", "--members"), 2, "expected a coordinator's");
    node_ledger(&m, "south", 1);
    put_sealed("south.jsonl", &m);
    expect(RUN("witness check", "hospitals", "south.jsonl"), 1, "this ledger has 13");

    /* every signed head bears the store's own signature as well */
    fl_buf_init(&bytes, 1 << 20);
    assert_int_equal(fl_file_read(&bytes, fl_path(path, dir, "hospitals"), NULL), FL_OK);
    assert_int_equal(witness_store_parse(&s, bytes.bytes, bytes.size, "hospitals", NULL), FL_OK);
    unsigned n_signed = 0;
    for (size_t i = 0; i < s.n; i++) {
        const witness_head *h = &s.heads[i];
        if (!h->is_signed || strcmp(h->party, "hub") != 0)
            continue;
        n_signed++;
        assert_int_equal(dp_checkpoint_verify_cosigned((const char *)s.text.bytes + h->note_at, h->n_note, h->vkey,
                                                       s.vkey, NULL, NULL, NULL),
                         FL_OK);
    }
    assert_int_equal(n_signed, 1);

    /* and is taken with no other, also where its record's hash would be right */
    witness_store again;
    const witness_head *first = &s.heads[0];
    char note[4096];
    size_t n_note = first->n_note;
    assert_true(first->is_signed && n_note < sizeof note);
    memcpy(note, s.text.bytes + first->note_at, n_note);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(witness_store_begin(&again, s.vkey, NULL), FL_OK);
        assert_int_equal(witness_store_add(&again, first, note, n_note, NULL) == FL_OK, i == 0);
        witness_store_fini(&again);
        note[n_note - 20] = note[n_note - 20] == 'A' ? 'B' : 'A';
    }
    witness_store_fini(&s);
    fl_buf_fini(&bytes);
    fl_path(path, dir, "hospitals.key");
    assert_int_equal(unlink(path), 0);
    expect(RUN("witness add", "hospitals", "north.jsonl"), 2, "hospitals.key");
}

/* Any byte changed, any record dropped or moved, any cut inside a record: refused. A cut between records cannot be seen. */
static void a_damaged_store_is_refused(void **state)
{
    (void)state;
    static const char *const parties[] = {"north", "south"};
    char path[FL_PATH_MAX];
    ledger_maker m;
    witness_store s;
    fl_buf bytes;
    RUN("witness init", "damaged", "--name", "=auditor");
    coordinator_ledger(&m, parties, 1, 2);
    put_sealed("hub.jsonl", &m);
    expect(RUN("witness add", "damaged", "hub.jsonl", "--members"), 0, "recorded");
    fl_buf_init(&bytes, 1 << 20);
    assert_int_equal(fl_file_read(&bytes, fl_path(path, dir, "damaged"), NULL), FL_OK);
    fl_err error;
    assert_int_equal(witness_store_parse(&s, bytes.bytes, bytes.size, "x", &error), FL_OK);
    size_t n_records = s.n;
    witness_store_fini(&s);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t bit = (uint8_t)(1 << i % 8);
        bytes.bytes[i] ^= bit;
        if (witness_store_parse(&s, bytes.bytes, bytes.size, "x", &error) != FL_EFORMAT || !strstr(error.text, "x: "))
            fail_msg("byte %zu changed and not seen", i);
        witness_store_fini(&s);
        bytes.bytes[i] ^= bit;
    }
    size_t whole = 0;
    for (size_t n = 0; n < bytes.size; n++) {
        whole += witness_store_parse(&s, bytes.bytes, n, "x", &error) == FL_OK;
        witness_store_fini(&s);
    }
    assert_int_equal(whole, n_records); /* 0 .. n - 1 records */
    bytes.bytes[bytes.size / 2] ^= 1;
    put("damaged", bytes.bytes, bytes.size);
    expect(RUN("witness list", "damaged"), 2, "damaged: record");
    expect(RUN("witness add", "damaged", "hub.jsonl"), 2, "damaged: record");
    expect(RUN("verify", "hub.jsonl", "--witness", "damaged"), 2, "damaged: record");
    fl_buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_recorded_and_a_ledger_that_grew_still_fits),
        cmocka_unit_test(a_rewritten_or_forked_ledger_is_caught),
        cmocka_unit_test(a_head_alone_is_recorded_with_a_key),
        cmocka_unit_test(every_hospital_of_a_coordinator_comes_in_one_go_and_is_cosigned),
        cmocka_unit_test(a_damaged_store_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
