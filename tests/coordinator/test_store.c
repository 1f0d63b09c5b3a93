#include "coordinator/store.h"
#include "crypto/cert.h"
#include "tests/coordinator/world.h"

#include <fcntl.h>
#include <sys/stat.h>

static void what_was_made_can_be_opened_again(void **state)
{
    fl_err err;
    coord_store s;
    fl_hash fingerprint;
    fl_cert_info info;
    char pem[FL_PEM_MAX], path[FL_PATH_MAX];
    struct stat st;
    assert_ok(coord_store_make(*state, "hub", "hub.example.org", 7500, &fingerprint, &err), err);
    assert_ok(coord_store_open(&s, *state, &err), err);
    assert_string_equal(s.name, "hub");
    assert_string_equal(s.host, "hub.example.org");
    assert_int_equal(s.port, 7500);
    assert_int_equal(led_state(s.ledger)->n_entries, 1);
    assert_true(led_state(s.ledger)->is_coordinator);
    assert_ok(coord_store_pem(&s, pem, "ca.crt", &err), err);
    assert_ok(fl_cert_read(&info, pem, &err), err);
    assert_true(info.is_ca);
    assert_true(fl_hash_equal(&info.fingerprint, &fingerprint));
    coord_store_close(&s);
    const char *secrets[] = {"identity.key", "ca.key", "server.key", "coordinator.ini", "coordinator.db"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stat(fl_path(path, *state, secrets[i]), &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
    assert_int_equal(coord_store_make(*state, "hub", "h", 7500, NULL, &err), FL_EREFUSED);
    assert_says(err, "holds a coordinator already");
}

static void bad_names_and_hosts_are_refused_before_anything_is_made(void **state)
{
    fl_err err;
    char path[FL_PATH_MAX];
    assert_int_equal(coord_store_make(*state, "no name", "h", 7443, NULL, &err), FL_EFORMAT);
    assert_int_equal(coord_store_make(*state, "", "h", 7443, NULL, &err), FL_EFORMAT);
    assert_int_equal(coord_store_make(*state, "hub", "", 7443, NULL, &err), FL_EFORMAT);
    assert_int_equal(coord_store_make(*state, "hub", "a b", 7443, NULL, &err), FL_EFORMAT);
    assert_false(fl_file_exists(fl_path(path, *state, "identity.key")));
    assert_int_equal(coord_store_open(&(coord_store){0}, *state, &err), FL_ENOTFOUND);
    assert_says(err, "holds no coordinator");
    assert_int_equal(coord_store_open(&(coord_store){0}, "/nonexistent/folder", &err), FL_ENOTFOUND);
}

static void replace(const char *dir, const char *file, const char *text)
{
    fl_err err;
    char path[FL_PATH_MAX];
    assert_ok(fl_file_write(fl_path(path, dir, file), text, strlen(text), 0600, &err), err);
}

static void an_ini_that_was_edited_wrongly_names_line_and_key(void **state)
{
    fl_err err;
    coord_store s;
    assert_ok(coord_store_make(*state, "hub", "localhost", 7443, NULL, &err), err);
    replace(*state, "coordinator.ini", "[coordinator]\nname = hub\nhost = localhost\nprot = 7\n");
    assert_int_equal(coord_store_open(&s, *state, &err), FL_EFORMAT);
    assert_says(err, "coordinator.ini:4");
    assert_says(err, "port"); /* the nearest */
    replace(*state, "coordinator.ini", "[coordinator]\nname = hub\nhost = localhost\nport = 99999\n");
    assert_int_equal(coord_store_open(&s, *state, &err), FL_EFORMAT);
    replace(*state, "coordinator.ini", "[coordinator]\nname = other\nhost = localhost\n");
    assert_int_not_equal(coord_store_open(&s, *state, &err), FL_OK); /* the ledger is of hub */
    assert_says(err, "ledger");
    replace(*state, "coordinator.ini", "[coordinator]\nname = hub\nhost = localhost\n");
    assert_ok(coord_store_open(&s, *state, &err), err);
    coord_store_close(&s);
}

static void a_database_that_is_none_and_a_key_of_another_are_refused(void **state)
{
    fl_err err;
    coord_store s;
    char path[FL_PATH_MAX], other[FL_PATH_MAX];
    fl_sign_key key;
    assert_ok(coord_store_make(*state, "hub", "localhost", 7443, NULL, &err), err);
    unlink(fl_path(path, *state, "identity.key"));
    assert_ok(fl_sign_key_make(&key, &err), err);
    assert_ok(fl_sign_key_save(&key, fl_path(other, *state, "identity.key"), &err), err);
    fl_sign_key_fini(&key);
    assert_int_equal(coord_store_open(&s, *state, &err), FL_EREFUSED); /* its checkpoint is of another key */
    fl_path(path, *state, "coordinator.db-wal");
    unlink(path);
    replace(*state, "coordinator.db",
            "this is no database, and it is long enough to be looked at twice ...............");
    assert_int_equal(coord_store_open(&s, *state, &err), FL_EENV);
    assert_says(err, "is not a database");
}

static void a_state_survives_on_disk(void **state)
{
    wire_message r;
    world *w = malloc(sizeof *w);
    world_init(w, *state, 3);
    world_study(w, "s", "all", 3, 2, "");
    world_start(w);
    for (uint32_t i = 0; i < 3; i++) {
        world_head(w, i);
        world_join(w, i, "s", 100 + i);
    }
    assert_int_equal(world_contribute(w, 1, "s", 4, &r), WIRE_RECEIPT);
    const coord_study before = *world_of(w, "s");
    world_crash(w);
    coord_store_close(&w->store);
    fl_err err;
    assert_ok(coord_store_open(&w->store, *state, &err), err);
    world_start(w);
    const coord_study *after = world_of(w, "s");
    assert_int_equal(after->phase, before.phase);
    assert_int_equal(after->round, before.round);
    assert_memory_equal(&after->announce_hash, &before.announce_hash, FL_HASH_SIZE);
    assert_memory_equal(after->members, before.members, sizeof before.members);
    assert_int_equal(coord_host_state(w->host)->sites[2].head_size, 1);
    assert_int_equal(coord_host_state(w->host)->boot, 2);
    world_fini(w);
    free(w);
}

static void studies_are_few_and_named_once(void **state)
{
    (void)state;
    fl_err err;
    world *w = malloc(sizeof *w);
    world_init(w, NULL, 1);
    char name[16];
    for (int i = 0; i < COORD_MAX_STUDIES; i++) {
        snprintf(name, sizeof name, "s%d", i);
        world_study(w, name, "all", 1, 1, "");
    }
    assert_int_equal(coord_study_add(&w->store, &w->plan, &err), FL_EREFUSED);
    assert_says(err, "is here already");
    strcpy(w->plan.name, "one-more");
    assert_int_equal(coord_study_add(&w->store, &w->plan, &err), FL_EREFUSED);
    assert_says(err, "keeps 8 studies");
    w->plan.is_private = false;
    assert_int_equal(coord_study_add(&w->store, &w->plan, &err), FL_EREFUSED);
    assert_says(err, "no privacy");
    world_fini(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scratch(what_was_made_can_be_opened_again),
        in_scratch(bad_names_and_hosts_are_refused_before_anything_is_made),
        in_scratch(an_ini_that_was_edited_wrongly_names_line_and_key),
        in_scratch(a_database_that_is_none_and_a_key_of_another_are_refused),
        in_scratch(a_state_survives_on_disk),
        cmocka_unit_test(studies_are_few_and_named_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
