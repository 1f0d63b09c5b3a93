#include "tests/privacy/replay_bench.h"

dp_entry e;

static void on_finding(void *context, uint64_t seq, const char *what, const char *why)
{
    bench *b = context;
    assert_true(strlen(what) > 0 && strlen(why) > 0);
    fl_buf_printf(&b->findings, "%llu %s\n", (unsigned long long)seq, what);
}

void bench_init(bench *b, const char *party)
{
    memset(b, 0, sizeof *b);
    maker_init(&b->m, party, 3);
    fl_buf_init(&b->findings, 1 << 16);
    assert_int_equal(dp_replay_create(&b->r, DP_REPLAY_STRICT, on_finding, b, NULL), FL_OK);
}

void bench_fini(bench *b)
{
    dp_replay_destroy(b->r);
    fl_buf_fini(&b->findings);
    maker_fini(&b->m);
}

void feed_entry(bench *b)
{
    fl_err err = {.code = FL_OK};
    size_t before = b->m.text.size;
    uint64_t n_before = dp_replay_state(b->r)->n_findings;
    fl_code would = dp_replay_would(b->r, &e, &err);
    assert_int_equal(dp_replay_state(b->r)->n_findings, n_before);
    maker_add(&b->m, &e);
    assert_int_equal(dp_replay_line(b->r, (const char *)b->m.text.bytes + before, b->m.text.size - before - 1, NULL),
                     FL_OK);
    assert_int_equal(would == FL_OK, dp_replay_state(b->r)->n_findings == n_before);
}

void feed(bench *b, dp_kind kind)
{
    maker_entry(&b->m, &e, kind);
    feed_entry(b);
}

void start_node(bench *b)
{
    bench_init(b, "north");
    feed(b, DP_GENESIS);
    feed(b, DP_POLICY);
    feed(b, DP_APPROVE_PLAN);
    assert_string_equal(fl_buf_text(&b->findings), "");
}

void feed_debit(bench *b, dp_kind kind, unsigned number)
{
    maker_entry(&b->m, &e, kind);
    debit_of(e.debit, number);
    e.round = number;
    feed_entry(b);
}

void feed_other(bench *b, unsigned number)
{
    maker_entry(&b->m, &e, DP_OTHER_RELEASE);
    debit_of(e.debit, 1000000 + number);
    debit_of(e.with, number);
    e.round = number;
    feed_entry(b);
}

void expect(bench *b, const char *words)
{
    if (!strstr(fl_buf_text(&b->findings), words))
        fail_msg("expected a finding \"%s\", got: %s", words, fl_buf_text(&b->findings));
    fl_buf_clear(&b->findings);
}

void expect_none(bench *b)
{
    assert_string_equal(fl_buf_text(&b->findings), "");
}
