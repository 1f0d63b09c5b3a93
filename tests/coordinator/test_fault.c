/* A commit that fails: nobody is told anything, nothing is lost, and the same request works later. */
#include "coordinator/fold.h"
#include "coordinator/query.h"
#include "tests/coordinator/world.h"

static world *make(const char *dir, uint32_t n)
{
    world *w = malloc(sizeof *w);
    world_init(w, dir, n);
    world_study(w, "s", "all", 2, n, "");
    world_start(w);
    return w;
}

static void drop(world *w)
{
    world_fini(w);
    free(w);
}

static int64_t ask(world *w, const char *sql)
{
    fl_err err;
    fl_query q;
    int64_t n = -1;
    assert_ok(fl_query_open(&q, w->store.db, sql, &err), err);
    if (fl_query_row(&q))
        n = fl_column_int(&q, 0);
    assert_ok(fl_query_close(&q, &err), err);
    return n;
}

static void exec(world *w, const char *sql)
{
    fl_err err;
    assert_ok(fl_db_exec(w->store.db, sql, &err), err);
}

/* The ledger in memory, in rows and as its checkpoint says. */
static void assert_ledger_is_whole(world *w)
{
    fl_err err;
    const uint64_t n = led_state(w->store.ledger)->n_entries;
    assert_int_equal(ask(w, "SELECT count(*) FROM entry"), n);
    assert_ok(led_reload(w->store.ledger, &err), err);
    assert_int_equal(led_state(w->store.ledger)->n_entries, n);
}

static void join_all(world *w)
{
    for (uint32_t i = 0; i < w->n_sites; i++) {
        world_head(w, i);
        world_join(w, i, "s", 100);
    }
}

static void a_full_disk_acknowledges_nothing(void **state)
{
    fl_err err;
    char sql[80];
    uint32_t rounds;
    wire_message r;
    world *w = make(*state, 8);
    join_all(w);
    const int64_t pages = ask(w, "PRAGMA page_count");
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %lld", (long long)pages);
    assert_int_equal(ask(w, sql), pages);
    unsigned n_in = 0, n_not = 0;
    for (uint32_t i = 0; i < 8; i++) {
        const uint64_t lines = led_state(w->store.ledger)->n_entries;
        const wire_kind kind = world_contribute(w, i, "s", i, &r);
        if (kind == WIRE_RECEIPT)
            n_in++;
        else {
            n_not++;
            assert_int_equal(kind, WIRE_NONE); /* not even an error: it may not be taken for an answer */
            assert_true(w->answers[w->n_tickets - 1].ignored);
            assert_int_equal(led_state(w->store.ledger)->n_entries, lines);
            assert_false(world_of(w, "s")->members[i].contributed);
        }
        assert_int_equal(ask(w, "SELECT count(*) FROM contribution"), n_in);
    }
    assert_true(n_not > 0);
    assert_int_equal(coord_host_failed_commits(w->host), n_not);
    assert_non_null(strstr(w->said, "full"));
    assert_ledger_is_whole(w);

    ask(w, "PRAGMA max_page_count = 1000000");
    for (uint32_t i = 0; i < 8; i++) /* asked again: who was in gets his receipt once more */
        assert_int_equal(world_contribute(w, i, "s", i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err);
    assert_int_equal(rounds, 1);
    assert_ledger_is_whole(w);
    drop(w);
}

/* Each table in turn refuses its rows. */
static void break_table(world *w, const char *what)
{
    char sql[256];
    snprintf(sql, sizeof sql, "CREATE TEMP TRIGGER broken BEFORE %s BEGIN SELECT RAISE(ABORT, 'no space here'); END",
             what);
    exec(w, sql);
}

static void mend(world *w)
{
    exec(w, "DROP TRIGGER broken");
}

static void whichever_row_of_a_contribution_fails_none_is_there(void **state)
{
    (void)state;
    static const char *const writes[] = {"INSERT ON main.entry", "INSERT ON main.checkpoint",
                                         "INSERT ON main.contribution", "UPDATE ON main.site"};
    wire_message r;
    world *w = make(NULL, 3);
    join_all(w);
    for (int k = 0; k < 4; k++) {
        const uint64_t lines = led_state(w->store.ledger)->n_entries;
        break_table(w, writes[k]);
        assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_NONE);
        assert_true(w->answers[w->n_tickets - 1].ignored);
        assert_int_equal(led_state(w->store.ledger)->n_entries, lines);
        assert_int_equal(ask(w, "SELECT count(*) FROM contribution"), 0);
        assert_false(world_of(w, "s")->members[0].contributed);
        mend(w);
        assert_ledger_is_whole(w);
    }
    assert_int_equal(world_contribute(w, 0, "s", 1, &r), WIRE_RECEIPT);
    assert_int_equal(ask(w, "SELECT count(*) FROM contribution"), 1);
    drop(w);
}

static void a_round_that_cannot_be_opened_is_opened_later(void **state)
{
    (void)state;
    static const char *const writes[] = {"INSERT ON main.round", "INSERT ON main.round_site", "UPDATE ON main.study",
                                         "INSERT ON main.entry"};
    wire_message r, join = {.kind = WIRE_JOIN, .study = "s", .u.join.declared_patients = 100};
    for (int k = 0; k < 4; k++) {
        world *w = make(NULL, 3);
        const uint64_t parked = world_poll(w, 0, 1);
        world_join(w, 0, "s", 100);
        world_join(w, 1, "s", 100);
        join.u.join.plan_hash = world_of(w, "s")->plan_hash;
        break_table(w, writes[k]);
        assert_int_equal(world_call(w, 2, &join, &r), WIRE_NONE); /* joining and opening are one step */
        assert_int_equal(world_of(w, "s")->phase, COORD_GATHERING);
        assert_int_equal(world_of(w, "s")->round, 0);
        assert_true(w->answers[parked].ignored); /* it would have been told of the round */
        mend(w);
        assert_int_equal(world_call(w, 2, &join, &r), WIRE_OK);
        assert_int_equal(world_of(w, "s")->round, 1);
        assert_ledger_is_whole(w);
        drop(w);
    }
}

static void a_model_that_cannot_be_published_is_folded_again(void **state)
{
    (void)state;
    fl_err err;
    uint32_t rounds;
    wire_message r;
    world *w = make(NULL, 3);
    join_all(w);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(world_contribute(w, i, "s", i, &r), WIRE_RECEIPT);
    break_table(w, "INSERT ON main.model");
    assert_int_equal(world_contribute(w, 2, "s", 2, &r), WIRE_RECEIPT); /* its row is committed: it counts */
    assert_int_equal(world_of(w, "s")->phase, COORD_FOLDING);
    assert_int_equal(ask(w, "SELECT count(*) FROM model"), 1);
    assert_ledger_is_whole(w);
    world_pass(w, 30000); /* tried again and again */
    assert_int_equal(world_of(w, "s")->phase, COORD_FOLDING);
    assert_true(coord_host_failed_commits(w->host) >= 3);
    mend(w);
    world_pass(w, 5000);
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
    assert_int_equal(world_of(w, "s")->round, 2);
    assert_ok(agg_refold(&w->store, &w->plan, NULL, NULL, &rounds, &err), err);
    assert_ledger_is_whole(w);
    drop(w);
}

/* What is refused for its numbers would be refused again and again: the study waits for a person. */
static void a_fold_that_is_refused_pauses_the_study(void **state)
{
    (void)state;
    fl_err err;
    wire_message r;
    world *w = make(NULL, 3);
    join_all(w);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_contribute(w, i, "s", i, &r), WIRE_RECEIPT);
    assert_int_equal(world_of(w, "s")->round, 2);
    exec(w, "UPDATE model SET released_hash = server_hash");
    exec(w, "UPDATE model SET server_hash = (SELECT released_hash FROM model WHERE round = 0) WHERE round = 1");
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_contribute(w, i, "s", 10 + i, &r), WIRE_RECEIPT);
    assert_non_null(strstr(w->said, "paused: its round cannot be aggregated"));
    assert_true(world_of(w, "s")->paused && world_of(w, "s")->phase == COORD_FOLDING);
    const size_t n = strlen(w->said);
    world_pass(w, 600000);
    assert_int_equal(strlen(w->said), n); /* not tried again by itself */
    exec(w, "UPDATE model SET server_hash = released_hash");
    assert_ok(coord_study_say(&w->store, "s", COORD_RESUME, &err), err);
    assert_ok(coord_host_changed(w->host, &err), err);
    assert_false(world_of(w, "s")->paused || world_of(w, "s")->phase == COORD_FOLDING);
    drop(w);
}

static void a_head_that_was_not_stored_is_not_cosigned(void **state)
{
    (void)state;
    wire_message m = {.kind = WIRE_HEAD}, r;
    fl_buf note;
    const fl_hash root = fl_sha256("x", 1);
    world *w = make(NULL, 1);
    fl_buf_init(&note, WIRE_NOTE_MAX);
    dp_checkpoint_note(&note, "cordon/a", 9, &root, &w->keys[0]);
    strcpy(m.u.head.note, fl_buf_text(&note));
    break_table(w, "UPDATE ON main.site");
    assert_int_equal(world_call(w, 0, &m, &r), WIRE_NONE);
    assert_int_equal(coord_host_state(w->host)->sites[0].head_size, 0);
    mend(w);
    assert_int_equal(world_call(w, 0, &m, &r), WIRE_COSIGNED);
    fl_buf_fini(&note);
    drop(w);
}

/* A host that stops after any number of requests and is started again on the same rows ends at the same model. */
static void killed_after_any_request_it_ends_at_the_same_model(void **state)
{
    (void)state;
    wire_message r;
    fl_hash first = {{0}}, model;
    for (uint32_t kill_at = 0; kill_at <= 6; kill_at++) {
        world *w = make(NULL, 3);
        join_all(w);
        for (uint32_t i = 0; i < 6; i++) {
            if (i == kill_at) {
                world_crash(w);
                world_start(w);
            }
            assert_int_equal(world_contribute(w, i % 3, "s", i, &r), WIRE_RECEIPT);
        }
        assert_int_equal(world_of(w, "s")->phase, COORD_DONE);
        assert_true(coord_model(&w->store, "s", 2, &model, NULL, NULL, NULL));
        if (kill_at == 0)
            first = model;
        assert_memory_equal(&first, &model, sizeof model);
        assert_ledger_is_whole(w);
        drop(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(a_full_disk_acknowledges_nothing),
        cmocka_unit_test(whichever_row_of_a_contribution_fails_none_is_there),
        cmocka_unit_test(a_round_that_cannot_be_opened_is_opened_later),
        cmocka_unit_test(a_model_that_cannot_be_published_is_folded_again),
        cmocka_unit_test(a_fold_that_is_refused_pauses_the_study),
        cmocka_unit_test(a_head_that_was_not_stored_is_not_cosigned),
        cmocka_unit_test(killed_after_any_request_it_ends_at_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
