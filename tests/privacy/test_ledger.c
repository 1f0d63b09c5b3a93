#include "privacy/checkpoint.h"
#include "privacy/cosign.h"
#include "privacy/ledger.h"
#include "tests/privacy/ledger_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static dp_entry entry, again;

static void compose(fl_buf *line, const dp_entry *e, uint64_t seq, const fl_hash *prev)
{
    fl_err err;
    if (dp_entry_compose(line, e, seq, prev, &err) != FL_OK)
        fail_msg("%s", err.text);
}

static void every_kind_comes_back_byte_for_byte(void **state)
{
    (void)state;
    ledger_maker m;
    maker_init(&m, "north", 1);
    fl_hash prev = fl_sha256("x", 1);
    for (unsigned round = 0; round < 2 * DP_N_KINDS; round++) {
        const dp_kind kind = (dp_kind)(round / 2);
        fl_buf line, twice;
        fl_err err;
        fl_buf_init(&line, DP_LINE_MAX);
        fl_buf_init(&twice, DP_LINE_MAX);
        maker_entry(&m, &entry, kind);
        entry.v = 1 + round % 2;
        compose(&line, &entry, 17, &prev);
        if (dp_entry_parse(&again, fl_buf_text(&line), line.size, &err) != FL_OK)
            fail_msg("%s", err.text);
        assert_int_equal(again.kind, kind);
        assert_int_equal(again.v, entry.v);
        assert_int_equal(again.seq, 17);
        assert_string_equal(again.node, "north");
        compose(&twice, &again, again.seq, &prev);
        assert_int_equal(line.size, twice.size);
        assert_memory_equal(line.bytes, twice.bytes, line.size);
        for (size_t i = 0; i < line.size; i++)
            assert_in_range(line.bytes[i], 0x20, 0x7e);
        fl_buf_fini(&line);
        fl_buf_fini(&twice);
    }
    maker_fini(&m);
}

/* The format is for ever: these bytes may never change. */
static void a_line_is_these_bytes(void **state)
{
    (void)state;
    static const char *const golden[] = {
        "{\"announce_hash\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"clip_norm\":\"1.0\","
        "\"clip_units\":65536,\"cohort\":3,\"debit\":\"00000000000000000000000000000001\",\"declared_patients\":500,"
        "\"kind\":\"RESERVE\",\"mechanism\":\"poisson-discrete-gaussian\","
        "\"model_hash\":\"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"node\":\"north\","
        "\"noise_multiplier\":\"1.1\",\"noise_variance\":\"5196910429\","
        "\"plan_hash\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"rate_u64\":\"18446744073709551\",\"round\":1,\"sampling_rate\":\"0.001\",\"seq\":5,\"steps\":10,"
        "\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"v\":1}",
        "{\"approver\":\"Dr. J\\u00f6rg \\\"Jo\\\" M\\u00fcller\",\"dataset\":\"main\",\"kind\":\"APPROVE_PLAN\","
        "\"node\":\"north\",\"plan_hash\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"seq\":5,\"study\":\"chest\","
        "\"t\":\"2026-03-01T12:34Z\",\"v\":1}",
        "{\"debit\":\"00000000000000000000000000000001\",\"kind\":\"BURN\",\"node\":\"north\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"reason\":\"crash\",\"round\":"
        "1,"
        "\"seq\":5,\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"v\":1}",
        "{\"kind\":\"AGGREGATE\",\"members\":[{\"hash\":"
        "\"1111111111111111111111111111111111111111111111111111111111111111\",\"n\":500,\"node\":\"north\"},{\"hash\":"
        "\"2222222222222222222222222222222222222222222222222222222222222222\",\"n\":200,\"node\":\"south\"}],"
        "\"model_hash\":\"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"node\":\"north\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"round\":1,\"rule\":\"fedavg\","
        "\"seq\":5,\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"v\":1}",
        "{\"bytes\":4095,\"debit\":\"000000000000000000000000000f4241\",\"kind\":\"OTHER_RELEASE\","
        "\"mechanism\":\"discrete-gaussian\",\"node\":\"north\",\"noise_multiplier\":\"20\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"seq\":5,\"steps\":10,"
        "\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\","
        "\"update_hash\":\"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\",\"v\":1}",
        "{\"announce_hash\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"clip_norm\":\"1.0\","
        "\"clip_units\":65536,\"cohort\":3,\"coordinates\":1365,\"debit\":\"00000000000000000000000000000001\","
        "\"declared_patients\":500,\"kind\":\"RESERVE\",\"mechanism\":\"poisson-discrete-gaussian\","
        "\"model_hash\":\"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"node\":\"north\","
        "\"noise_multiplier\":\"1.1\",\"noise_variance\":\"5196910429\","
        "\"plan_hash\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
        "\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"probe\":65,"
        "\"rate_u64\":\"18446744073709551\",\"round\":1,\"sampling_rate\":\"0.001\",\"seq\":5,\"steps\":10,"
        "\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"update_bits\":24,\"v\":2}",
        "{\"cells\":14,\"debit\":\"000000000000000000000000000f4241\",\"kind\":\"OTHER_RELEASE\","
        "\"mechanism\":\"discrete-gaussian\",\"node\":\"north\",\"noise_multiplier\":\"20\","
        "\"noise_variance\":\"400\",\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"round\":1,\"seq\":5,\"steps\":10,\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"v\":2,"
        "\"what\":\"histogram+classes\",\"with\":\"00000000000000000000000000000001\"}",
    };
    static const dp_kind kinds[] = {DP_RESERVE,       DP_APPROVE_PLAN, DP_BURN,         DP_AGGREGATE,
                                    DP_OTHER_RELEASE, DP_RESERVE,      DP_OTHER_RELEASE};
    ledger_maker m;
    maker_init(&m, "north", 1);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fl_buf line;
        fl_hash zero = {{0}};
        fl_buf_init(&line, DP_LINE_MAX);
        maker_entry(&m, &entry, kinds[i]);
        entry.v = i < 5 ? 1 : 2;
        compose(&line, &entry, 5, &zero);
        assert_string_equal(fl_buf_text(&line), golden[i]);
        fl_buf_fini(&line);
    }
    maker_fini(&m);
}

typedef struct bad_field {
    dp_kind kind;
    size_t offset, size;
    const char *value;
} bad_field;

#define BAD(kind, field, value)                                                                                        \
    {                                                                                                                  \
        kind, offsetof(dp_entry, field), sizeof(((dp_entry *)0)->field), value                                         \
    }

static void a_malformed_field_is_never_composed(void **state)
{
    (void)state;
    static const bad_field list[] = {
        BAD(DP_BURN, node, ""),
        BAD(DP_BURN, node, "north hospital"),
        BAD(DP_BURN, node, "n\"orth"),
        BAD(DP_BURN, study, ""),
        BAD(DP_BURN, t, "2026-03-01T12:34:56Z"),
        BAD(DP_BURN, t, "2026-13-01T12:34Z"),
        BAD(DP_BURN, t, ""),
        BAD(DP_BURN, reason, "The disk was full"),
        BAD(DP_BURN, reason, ""),
        BAD(DP_BURN, debit, "1"),
        BAD(DP_BURN, debit, "0000000000000000000000000000000A"),
        BAD(DP_RELEASE, update_hash, "ff"),
        BAD(DP_RESERVE, sampling_rate, "1/20"),
        BAD(DP_RESERVE, clip_norm, "nan"),
        BAD(DP_RESERVE, noise_multiplier, "1.1000001"),
        BAD(DP_OTHER_RELEASE, with, "1"),
        BAD(DP_OTHER_RELEASE, what, ""),
        BAD(DP_POLICY, epsilon, "-8"),
        BAD(DP_POLICY, delta, "inf"),
        BAD(DP_POLICY, releases, "update,metrics"),
        BAD(DP_POLICY, releases, "+update"),
        BAD(DP_APPROVE_PLAN, approver, ""),
        BAD(DP_APPROVE_PLAN, approver, "two\nlines"),
        BAD(DP_APPROVE_PLAN, approver, "bad \xff byte"),
        BAD(DP_APPROVE_PLAN, approver, "overlong \xc0\xaf"),
        BAD(DP_ACK, receipt, "AAAA"),
        BAD(DP_ACK, checkpoint, "not base64!"),
        BAD(DP_GENESIS, key, "cordon/north+00000000+AQID"),
    };
    ledger_maker m;
    fl_hash prev = {{0}};
    maker_init(&m, "north", 1);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        fl_buf line;
        fl_err err;
        fl_buf_init(&line, DP_LINE_MAX);
        maker_entry(&m, &entry, list[i].kind);
        snprintf((char *)&entry + list[i].offset, list[i].size, "%s", list[i].value);
        assert_int_equal(dp_entry_compose(&line, &entry, 1, &prev, &err), FL_EFORMAT);
        assert_int_equal(line.size, 0);
        fl_buf_fini(&line);
    }
    maker_fini(&m);
}

static void numbers_out_of_range_are_never_composed(void **state)
{
    (void)state;
    ledger_maker m;
    fl_hash prev = {{0}};
    fl_buf line;
    maker_init(&m, "north", 1);
    fl_buf_init(&line, DP_LINE_MAX);
#define REFUSED(kind_, change)                                                                                         \
    do {                                                                                                               \
        maker_entry(&m, &entry, kind_);                                                                                \
        change;                                                                                                        \
        assert_int_equal(dp_entry_compose(&line, &entry, 1, &prev, NULL), FL_EFORMAT);                                 \
    } while (0)
    REFUSED(DP_RESERVE, entry.rate = 0);
    REFUSED(DP_RESERVE, entry.rate = DP_RATE_ONE + 1);
    REFUSED(DP_RESERVE, entry.noise_variance = 0);
    REFUSED(DP_RESERVE, entry.coordinates = 0);
    REFUSED(DP_RESERVE, entry.update_bits = 7);
    REFUSED(DP_RESERVE, entry.update_bits = 65);
    REFUSED(DP_OTHER_RELEASE, entry.cells = 0);
    REFUSED(DP_OTHER_RELEASE, entry.round = 0);
    REFUSED(DP_OTHER_RELEASE, entry.noise_variance = 0);
    REFUSED(DP_RESERVE, entry.noise_variance = ((uint64_t)1 << 56) + 1);
    REFUSED(DP_RESERVE, entry.clip_units = 0);
    REFUSED(DP_RESERVE, entry.steps = 0);
    REFUSED(DP_RESERVE, entry.round = 0);
    REFUSED(DP_RESERVE, entry.declared_patients = 0);
    REFUSED(DP_POLICY, entry.order = 1);
    REFUSED(DP_POLICY, entry.order = 2000);
    REFUSED(DP_POLICY, entry.rungs = 0);
    REFUSED(DP_RELEASE, entry.bytes = UINT64_MAX);
    REFUSED(DP_AGGREGATE, entry.n_members = 0);
    REFUSED(DP_AGGREGATE, entry.n_members = DP_MEMBERS_MAX + 1);
    REFUSED(DP_AGGREGATE, snprintf(entry.members[1].node, DP_NAME_SIZE, "north")); /* a name twice */
    REFUSED(DP_AGGREGATE, snprintf(entry.members[1].node, DP_NAME_SIZE, "aaa"));   /* not sorted */
#undef REFUSED
    fl_buf_fini(&line);
    maker_fini(&m);
}

/* One meaning, one text: the same content written in any other way is no ledger line. */
static void only_the_canonical_form_is_a_line(void **state)
{
    (void)state;
#define REST                                                                                                           \
    "\"kind\":\"BURN\",\"node\":\"north\",\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000" \
    "\",\"reason\":\"crash\",\"round\":1,\"seq\":5,\"study\":\"chest\",\"t\":\"2026-03-01T12:34Z\",\"v\":1}"
#define DEBIT "{\"debit\":\"00000000000000000000000000000001\","
    static const char good[] = DEBIT REST;
    assert_int_equal(dp_entry_parse(&entry, good, strlen(good), NULL), FL_OK);
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        " " DEBIT REST,
        DEBIT REST " ",
        DEBIT " " REST,
        DEBIT REST "\n",
        DEBIT DEBIT REST,
        "{\"debit\":\"00000000000000000000000000000001\",\"extra\":1," REST,
        "{" REST,
        "{\"debit\":\"0000000000000000000000000000000\\u0031\"," REST,
        "{\"debit\":1," REST,
        "{\"kind\":\"NOTHING\",\"v\":1}",
        "{\"kind\":\"BURN\",\"v\":2}",
        "{\"kind\":\"BURN\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(dp_entry_parse(&entry, bad[i], strlen(bad[i]), NULL), FL_EFORMAT);
    char changed[sizeof good];
    memcpy(changed, good, sizeof good);
    char *one = strstr(changed, "\"round\":1");
    memcpy(one, "\"round\":-", 9);
    assert_int_equal(dp_entry_parse(&entry, changed, strlen(changed), NULL), FL_EFORMAT);
#undef REST
#undef DEBIT
}

/* --- the tree --- */

static fl_hash leaf_of(const char *line)
{
    return fl_sha256_2("", 1, line, strlen(line));
}

/* RFC 6962, section 2.1, word for word: split at the largest power of two below n. */
static fl_hash slow_root(char lines[][8], size_t n)
{
    if (n == 0)
        return fl_sha256("", 0);
    if (n == 1)
        return leaf_of(lines[0]);
    size_t k = 1;
    while (2 * k < n)
        k *= 2;
    fl_hash left = slow_root(lines, k), right = slow_root(lines + k, n - k);
    uint8_t both[65] = {1};
    memcpy(both + 1, left.bytes, 32);
    memcpy(both + 33, right.bytes, 32);
    return fl_sha256(both, sizeof both);
}

static void the_tree_grows_as_the_rfc_says(void **state)
{
    (void)state;
    static char lines[200][8];
    dp_tree tree;
    dp_tree_init(&tree);
    for (size_t n = 0; n < 200; n++) {
        fl_hash fast = dp_tree_root(&tree), slow = slow_root(lines, n);
        assert_memory_equal(fast.bytes, slow.bytes, 32);
        snprintf(lines[n], sizeof lines[n], "%zu", n * n);
        dp_tree_append(&tree, lines[n], strlen(lines[n]));
        assert_int_equal(tree.size, n + 1);
    }
}

/* --- the note --- */

static void a_checkpoint_verifies_and_any_changed_byte_does_not(void **state)
{
    (void)state;
    ledger_maker m;
    fl_buf note;
    char origin[DP_ORIGIN_MAX];
    uint64_t size = 0;
    fl_hash root = fl_sha256("root", 4), found;
    maker_init(&m, "north", 1);
    fl_buf_init(&note, DP_NOTE_MAX);
    dp_checkpoint_note(&note, "cordon/north", 42, &root, &m.key);
    const char *text = (const char *)note.bytes;
    assert_int_equal(dp_checkpoint_verify(text, note.size, m.vkey, origin, &size, &found, NULL), FL_OK);
    assert_string_equal(origin, "cordon/north");
    assert_int_equal(size, 42);
    assert_memory_equal(found.bytes, root.bytes, 32);
    assert_int_equal(strncmp(text, "cordon/north\n42\n", 16), 0);
    assert_non_null(strstr(text, "\n\n\xe2\x80\x94 cordon/north "));
    for (size_t i = 0; i < note.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            note.bytes[i] ^= (uint8_t)(1 << bit);
            assert_int_not_equal(dp_checkpoint_verify(text, note.size, m.vkey, NULL, NULL, NULL, NULL), FL_OK);
            note.bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    for (size_t n = 0; n < note.size; n++)
        assert_int_not_equal(dp_checkpoint_verify(text, n, m.vkey, NULL, NULL, NULL, NULL), FL_OK);
    fl_buf_fini(&note);
    maker_fini(&m);
}

static void a_checkpoint_of_another_key_or_ledger_is_refused(void **state)
{
    (void)state;
    ledger_maker mine, other, elsewhere;
    fl_buf note;
    fl_hash root = fl_sha256("root", 4);
    maker_init(&mine, "north", 1);
    maker_init(&other, "north", 2);
    maker_init(&elsewhere, "south", 1);
    fl_buf_init(&note, DP_NOTE_MAX);
    dp_checkpoint_note(&note, "cordon/north", 42, &root, &mine.key);
    const char *text = (const char *)note.bytes;
    assert_int_equal(dp_checkpoint_verify(text, note.size, other.vkey, NULL, NULL, NULL, NULL), FL_EREFUSED);
    assert_int_equal(dp_checkpoint_verify(text, note.size, elsewhere.vkey, NULL, NULL, NULL, NULL), FL_EREFUSED);
    assert_int_equal(dp_checkpoint_verify(text, note.size, "nonsense", NULL, NULL, NULL, NULL), FL_EFORMAT);
    fl_buf_fini(&note);
    maker_fini(&mine);
    maker_fini(&other);
    maker_fini(&elsewhere);
}

static void a_cosigned_checkpoint_needs_both_signatures(void **state)
{
    (void)state;
    ledger_maker node, hub, other;
    fl_buf note;
    uint64_t size = 0;
    fl_hash root = fl_sha256("root", 4), found;
    maker_init(&node, "north", 1);
    maker_init(&hub, "hub", 2);
    maker_init(&other, "hub", 3);
    fl_buf_init(&note, DP_NOTE_MAX);
    dp_checkpoint_note(&note, "cordon/north", 42, &root, &node.key);
    const char *text = (const char *)note.bytes;
    assert_int_not_equal(dp_checkpoint_verify_cosigned(text, note.size, node.vkey, hub.vkey, NULL, NULL, NULL), FL_OK);
    dp_checkpoint_cosign(&note, "cordon/hub", &hub.key);
    text = (const char *)note.bytes;
    assert_int_equal(dp_checkpoint_verify_cosigned(text, note.size, node.vkey, hub.vkey, &size, &found, NULL), FL_OK);
    assert_int_equal(size, 42);
    assert_memory_equal(found.bytes, root.bytes, 32);
    assert_int_not_equal(dp_checkpoint_verify_cosigned(text, note.size, node.vkey, other.vkey, NULL, NULL, NULL),
                         FL_OK);
    assert_int_not_equal(dp_checkpoint_verify_cosigned(text, note.size, hub.vkey, node.vkey, NULL, NULL, NULL), FL_OK);
    assert_int_not_equal(dp_checkpoint_verify(text, note.size, node.vkey, NULL, NULL, NULL, NULL), FL_OK);
    for (size_t i = 0; i < note.size; i++) {
        note.bytes[i] ^= 1;
        assert_int_not_equal(dp_checkpoint_verify_cosigned(text, note.size, node.vkey, hub.vkey, NULL, NULL, NULL),
                             FL_OK);
        note.bytes[i] ^= 1;
        assert_int_not_equal(dp_checkpoint_verify_cosigned(text, i, node.vkey, hub.vkey, NULL, NULL, NULL), FL_OK);
    }
    fl_buf_fini(&note);
    maker_fini(&node);
    maker_fini(&hub);
    maker_fini(&other);
}

/* The example of the signed-note specification (C2SP), whose key and text are public. */
static void the_published_example_of_a_verifier_key_is_read(void **state)
{
    (void)state;
    char origin[DP_ORIGIN_MAX], back[DP_VKEY_MAX];
    uint8_t key[FL_PUBLIC_KEY_SIZE];
    static const char vkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_true(dp_vkey_parse(origin, key, vkey));
    assert_string_equal(origin, "PeterNeumann");
    dp_vkey_text(back, origin, key);
    assert_string_equal(back, vkey);
    assert_false(dp_vkey_parse(origin, key, "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"));
    /* the specification's note under that key: our checkpoint is stricter in its text, so the signature is checked */
    static const char text[] = "If you think cryptography is the answer to your problem,\n"
                               "then you don't know what your problem is.\n";
    uint8_t signature[68];
    static const char base64[] =
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    assert_int_equal(fl_base64_decode(signature, sizeof signature, base64, strlen(base64)), 68);
    assert_true(dp_vkey_parse(origin, key, vkey));
    assert_true(fl_sign_verify(signature + 4, key, text, strlen(text)));
}

static void the_last_line_of_an_export_comes_back(void **state)
{
    (void)state;
    ledger_maker m;
    fl_buf line, note;
    char vkey[DP_VKEY_MAX];
    maker_init(&m, "north", 1);
    fl_buf_init(&line, DP_LINE_MAX);
    fl_buf_init(&note, DP_LINE_MAX);
    assert_int_equal(dp_export_line(&line, "a\n\xe2\x80\x94 b\n", m.vkey, NULL), FL_OK);
    assert_non_null(strstr(fl_buf_text(&line), "{\"checkpoint\":\"a\\n\\u2014 b\\n\",\"key\":\"cordon/north+"));
    assert_true(dp_export_parse(&note, vkey, fl_buf_text(&line), line.size));
    assert_string_equal(fl_buf_text(&note), "a\n\xe2\x80\x94 b\n");
    assert_string_equal(vkey, m.vkey);
    for (size_t n = 0; n < line.size; n++)
        assert_false(dp_export_parse(&note, vkey, fl_buf_text(&line), n));
    fl_buf_fini(&line);
    fl_buf_fini(&note);
    maker_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back_byte_for_byte),
        cmocka_unit_test(a_line_is_these_bytes),
        cmocka_unit_test(a_malformed_field_is_never_composed),
        cmocka_unit_test(numbers_out_of_range_are_never_composed),
        cmocka_unit_test(only_the_canonical_form_is_a_line),
        cmocka_unit_test(the_tree_grows_as_the_rfc_says),
        cmocka_unit_test(a_checkpoint_verifies_and_any_changed_byte_does_not),
        cmocka_unit_test(a_checkpoint_of_another_key_or_ledger_is_refused),
        cmocka_unit_test(a_cosigned_checkpoint_needs_both_signatures),
        cmocka_unit_test(the_published_example_of_a_verifier_key_is_read),
        cmocka_unit_test(the_last_line_of_an_export_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
