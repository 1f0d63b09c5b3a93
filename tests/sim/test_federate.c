/*
 * A study on one machine that is killed, stopped and typed again: nothing is paid or trained twice, and what is finished
 * is finished. Every training goes through the functions wrapped below, which count and can end the process.
 */
#include "base/scratch.h"
#include "node/worker.h"
#include "sim/federate.h"
#include "tests/base/test.h"
#include "tests/node/images.h"
#include "train/server.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { ROUNDS = 4, HOSPITALS = 3, N_IMAGES = 36 };

typedef enum trouble { NONE, KILL_BEFORE, KILL_AFTER, STOP } trouble;

/* Shared with the child that runs the study. */
typedef struct counted {
    atomic_uint updates; /* of the federation */
    atomic_uint loops;   /* of runs without machines: baselines, no privacy */
    unsigned at;         /* trouble comes at this call of either, from 1; 0: never */
    trouble what;
} counted;

static counted *calls;
static atomic_bool stop;
static char dir[4096], study[4200], state[4200];
static fl_err err;

static void trouble_at(unsigned call, trouble what)
{
    if (call != calls->at || what != calls->what)
        return;
    if (what == STOP)
        atomic_store(&stop, true);
    else
        raise(SIGKILL);
}

fl_code __real_node_update_make(fl_hash *, uint64_t *, nn_trainer *, const nn_plan *, const node_splits *,
                                const float *, uint64_t, uint32_t, fl_objects *, const atomic_bool *, fl_err *);
fl_code __wrap_node_update_make(fl_hash *, uint64_t *, nn_trainer *, const nn_plan *, const node_splits *,
                                const float *, uint64_t, uint32_t, fl_objects *, const atomic_bool *, fl_err *);

fl_code __wrap_node_update_make(fl_hash *hash, uint64_t *size, nn_trainer *t, const nn_plan *plan,
                                const node_splits *splits, const float *w, uint64_t declared, uint32_t round,
                                fl_objects *objects, const atomic_bool *cancel, fl_err *e)
{
    const unsigned call = atomic_fetch_add(&calls->updates, 1) + 1;
    trouble_at(call, KILL_BEFORE);
    fl_code rc = __real_node_update_make(hash, size, t, plan, splits, w, declared, round, objects, cancel, e);
    trouble_at(call, KILL_AFTER);
    trouble_at(call, STOP);
    return rc;
}

fl_code __real_nn_server_apply(nn_server *, const nn_plan *, const int64_t *, uint64_t, uint32_t, fl_err *);
fl_code __wrap_nn_server_apply(nn_server *, const nn_plan *, const int64_t *, uint64_t, uint32_t, fl_err *);

/* Of a loop: one round more. The world's folds come here too, but for those the other counter stands still. */
fl_code __wrap_nn_server_apply(nn_server *s, const nn_plan *plan, const int64_t *sum, uint64_t declared, uint32_t round,
                               fl_err *e)
{
    fl_code rc = __real_nn_server_apply(s, plan, sum, declared, round, e);
    const unsigned call = atomic_fetch_add(&calls->loops, 1) + 1;
    if (calls->at > 1000) {
        if (call == calls->at - 1000 && calls->what == STOP)
            atomic_store(&stop, true);
        else if (call == calls->at - 1000)
            raise(SIGKILL);
    }
    return rc;
}

/* ---- the study --------------------------------------------------------------------------------------------------- */

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[5000];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(fl_file_write(path, bytes, n, 0600, &err), err);
}

static void write_idx(const char *images, const char *labels)
{
    uint8_t bytes[16 + 64 * N_IMAGES] = {0, 0, 8, 3, 0, 0, 0, N_IMAGES, 0, 0, 0, 8, 0, 0, 0, 8},
                            l[8 + N_IMAGES] = {0, 0, 8, 1, 0, 0, 0, N_IMAGES};
    for (int i = 0; i < N_IMAGES; i++) {
        for (int p = 0; p < 64; p++)
            bytes[16 + 64 * i + p] = (uint8_t)(i * 7 + p * (i % 2 ? 3 : 250));
        l[8 + i] = (uint8_t)(i % 2);
    }
    write_file(images, bytes, sizeof bytes);
    write_file(labels, l, sizeof l);
}

static void write_study(unsigned quorum, unsigned allowance)
{
    char ini[600];
    snprintf(ini, sizeof ini,
             "[study]\nname = s\nclasses = 0, 1\n[input]\nshape = 1x8x8\n[model]\narchitecture = linear\n"
             "[rounds]\ncount = 4\nquorum = %u\ndeadline_s = 60\n[privacy]\nepsilon = 8\ndelta = 1e-5\n"
             "sampling_rate = 1\nallowance_rounds = %u\n",
             quorum, allowance);
    write_file("s.ini", ini, strlen(ini));
}

static int begin(void **unused)
{
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/cordon-federate-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(study, sizeof study, "%s/s.ini", dir);
    snprintf(state, sizeof state, "%s/state", dir);
    write_study(2, 4);
    write_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    memset(calls, 0, sizeof *calls);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int end(void **unused)
{
    (void)unused;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static sim_federate_options usual(void)
{
    return (sim_federate_options){.study = study,
                                  .data = dir,
                                  .n_hospitals = HOSPITALS,
                                  .no_local = true,
                                  .n_threads = 1,
                                  .state = state,
                                  .stop = &stop};
}

/* In a child, because it may be killed. Its exit code, or minus the signal that ended it. */
static int run_once(const sim_federate_options *o, unsigned at, trouble what)
{
    int status;
    calls->at = at;
    calls->what = what;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        sim_outcome outcome;
        fl_err why = {0};
        atomic_store(&stop, false);
        fl_code rc = sim_federate(&outcome, o, &why);
        if (rc && rc != FL_EBUSY)
            fprintf(stderr, "%s\n", why.text);
        _exit(rc ? fl_exit_code(rc) : outcome.has_findings ? 99 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Lines of this kind in the node's ledger. */
static unsigned lines(const char *node, const char *kind)
{
    char path[5000], word[80];
    fl_buf text;
    unsigned n = 0;
    fl_buf_init(&text, 1 << 24);
    snprintf(path, sizeof path, "%s/ledgers/%s/ledger.jsonl", dir, node);
    snprintf(word, sizeof word, "\"kind\":\"%s\"", kind);
    assert_ok(fl_file_read(&text, path, &err), err);
    for (const char *at = fl_buf_text(&text); (at = strstr(at, word)); at++)
        n++;
    fl_buf_fini(&text);
    return n;
}

static unsigned lines_of_all(const char *kind)
{
    return lines("node-site-001", kind) + lines("node-site-002", kind) + lines("node-site-003", kind);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

/* Killed in the middle of each training in turn, before or behind it: one debit is burned, each round is released once. */
static void killed_at_any_training_it_goes_on(void **unused)
{
    (void)unused;
    char ledgers[4200];
    snprintf(ledgers, sizeof ledgers, "%s/ledgers", dir);
    sim_federate_options o = usual();
    o.ledgers = ledgers;
    assert_int_equal(run_once(&o, 2, KILL_BEFORE), -SIGKILL);
    assert_int_equal(run_once(&o, atomic_load(&calls->updates) + 5, KILL_AFTER), -SIGKILL);
    assert_int_equal(run_once(&o, 0, NONE), 0);
    assert_int_equal(lines_of_all("BURN"), 2);
    assert_int_equal(lines_of_all("RELEASE"), ROUNDS * HOSPITALS);
    assert_int_equal(lines_of_all("RESERVE"), ROUNDS * HOSPITALS + 2);
    assert_int_equal(lines_of_all("ACK"), ROUNDS * HOSPITALS);
    assert_int_equal(lines("coordinator", "AGGREGATE"), ROUNDS);
    assert_int_equal(atomic_load(&calls->updates), ROUNDS * HOSPITALS + 2);
}

/* Stopped by a signal: what was trained is kept, nothing is burned, nothing is trained again. */
static void stopped_at_any_training_it_burns_nothing(void **unused)
{
    (void)unused;
    char ledgers[4200];
    snprintf(ledgers, sizeof ledgers, "%s/ledgers", dir);
    sim_federate_options o = usual();
    o.ledgers = ledgers;
    for (unsigned at = 1; at < ROUNDS * HOSPITALS; at += 2) {
        assert_int_equal(run_once(&o, at, STOP), 3);
        assert_int_equal(atomic_load(&calls->updates), at);
    }
    assert_int_equal(run_once(&o, 0, NONE), 0);
    assert_int_equal(lines_of_all("BURN"), 0);
    assert_int_equal(lines_of_all("RESERVE"), ROUNDS * HOSPITALS);
    assert_int_equal(lines_of_all("RELEASE"), ROUNDS * HOSPITALS);
    assert_int_equal(atomic_load(&calls->updates), ROUNDS * HOSPITALS);
}

static void read_result(fl_buf *out, const char *name)
{
    char path[5000];
    snprintf(path, sizeof path, "%s/%s", state, name);
    fl_buf_init(out, 1 << 24);
    assert_ok(fl_file_read(out, path, &err), err);
}

static void assert_same_bytes(fl_buf *a, fl_buf *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->bytes, b->bytes, a->size);
    fl_buf_fini(a);
    fl_buf_fini(b);
}

/* Without privacy everything is decided by the seed: interrupted or not, the same model, and hospitals alone likewise. */
static void without_privacy_it_ends_with_the_same_bits(void **unused)
{
    (void)unused;
    fl_buf whole, parts, whole_local, parts_local;
    sim_federate_options o = usual();
    o.open = true;
    o.no_local = false;
    assert_int_equal(run_once(&o, 0, NONE), 0);
    const unsigned n = atomic_load(&calls->loops);
    assert_int_equal(n, ROUNDS * (1 + HOSPITALS));
    read_result(&whole, "global.weights");
    read_result(&whole_local, "open-site-002.state");
    snprintf(state, sizeof state, "%s/again", dir);
    atomic_store(&calls->loops, 0);
    for (unsigned at = 2; at < n; at += 3)
        assert_int_equal(run_once(&o, 1000 + at, STOP), 3);
    assert_int_equal(run_once(&o, 0, NONE), 0);
    assert_int_equal(atomic_load(&calls->loops), n);
    read_result(&parts, "global.weights");
    read_result(&parts_local, "open-site-002.state");
    assert_same_bytes(&whole, &parts);
    assert_same_bytes(&whole_local, &parts_local);
}

static void what_is_finished_is_printed_again(void **unused)
{
    (void)unused;
    sim_outcome first, again;
    sim_federate_options o = usual();
    char model[4200];
    assert_ok(sim_federate(&first, &o, &err), err);
    const unsigned updates = atomic_load(&calls->updates), loops = atomic_load(&calls->loops);
    o.data = dir;
    assert_ok(sim_federate(&again, &o, &err), err);
    assert_int_equal(atomic_load(&calls->updates), updates);
    assert_int_equal(atomic_load(&calls->loops), loops);
    assert_string_equal(fl_buf_text(&first.json), fl_buf_text(&again.json));
    assert_string_equal(fl_buf_text(&first.text), fl_buf_text(&again.text));
    assert_true(strstr(fl_buf_text(&first.json), "\"local\":[null,null,null]") != NULL);
    sim_outcome_fini(&again);
    snprintf(model, sizeof model, "%s/m.safetensors", dir);
    o.save_model = model; /* later, from what is kept */
    o.no_local = false;   /* and hospitals alone after all */
    assert_ok(sim_federate(&again, &o, &err), err);
    assert_int_equal(atomic_load(&calls->updates), updates);
    assert_true(fl_file_exists(model));
    strcat(model, ".md");
    assert_true(fl_file_exists(model));
    assert_null(strstr(fl_buf_text(&again.json), "\"local\":[null"));
    sim_outcome_fini(&again);
    sim_outcome_fini(&first);
}

static fl_code try_it(const sim_federate_options *o)
{
    sim_outcome out;
    fl_code rc = sim_federate(&out, o, &err);
    sim_outcome_fini(&out);
    return rc;
}

static void another_run_does_not_enter_the_folder(void **unused)
{
    (void)unused;
    sim_federate_options o = usual();
    assert_int_equal(run_once(&o, 3, STOP), 3);
    o.has_seed = true;
    o.seed = 77;
    assert_int_equal(try_it(&o), FL_EREFUSED);
    assert_says(err, "holds another run");
    o = usual();
    o.open = true;
    assert_int_equal(try_it(&o), FL_EREFUSED);
    o = usual();
    write_idx("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    uint8_t other = 99;
    char path[5000];
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte", dir);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 40, SEEK_SET), 0);
    assert_int_equal(fwrite(&other, 1, 1, f), 1);
    fclose(f);
    assert_int_equal(try_it(&o), FL_EREFUSED);
    assert_says(err, "the data are not those that the run began with");
}

/* Without room for a burned debit the hospital is out, and the study cannot reach its quorum: said, not waited for. */
static void a_budget_without_room_for_a_kill_is_said(void **unused)
{
    (void)unused;
    sim_federate_options o = usual();
    write_study(HOSPITALS, 0);
    assert_int_equal(run_once(&o, 5, KILL_AFTER), -SIGKILL);
    calls->at = 0;
    assert_int_equal(try_it(&o), FL_EREFUSED);
    assert_says(err, "round 4 of 4 does not reach its quorum");
    assert_says(err, "allowance_rounds");
}

/* Sets of classes from a manifest to a result, with noised counts on the way. */
static void sets_of_classes_go_the_whole_way(void **unused)
{
    (void)unused;
    static const char ini[] =
        "[study]\nname = s\nlabels = multi\nclasses = mass, fluid, air\n[input]\nshape = 1x8x8\n[model]\n"
        "architecture = linear\n[rounds]\ncount = 2\nquorum = 2\ndeadline_s = 60\n[privacy]\nepsilon = 8\n"
        "delta = 1e-5\nsampling_rate = 1\n[metrics]\nevery = 1\nwhat = histogram+classes\n";
    static const char *const labels[] = {"mass|fluid", "none", "air", "fluid", "air|mass|fluid", "mass"};
    char manifest[2000] = "file,label,patient_id,hospital,split\n", path[5000];
    for (unsigned i = 0; i < 24; i++) {
        snprintf(path, sizeof path, "%s/%u.png", dir, i);
        make_png(path, 12, i + 1);
        snprintf(manifest + strlen(manifest), sizeof manifest - strlen(manifest), "%u.png,%s,p%u,%s,%s\n", i,
                 labels[i % 6], i, i % 4 < 2 ? "east" : "west", i < 12 ? "train" : "test");
    }
    write_file("manifest.csv", manifest, strlen(manifest));
    write_file("s.ini", ini, sizeof ini - 1);
    sim_federate_options o = usual();
    o.n_hospitals = 0;
    o.no_local = false;
    o.state = NULL;
    sim_outcome out;
    assert_ok(sim_federate(&out, &o, &err), err);
    const char *json = fl_buf_text(&out.json);
    assert_non_null(strstr(json, "\"metric\":\"auroc\""));
    assert_non_null(strstr(json, "\"audit\":\"verified\""));
    assert_non_null(strstr(json, "\"classes\":[\"mass\",\"fluid\",\"air\"]"));
    assert_null(strstr(json, "confusion"));
    assert_null(strstr(json, "\"global\":null"));
    assert_null(strstr(json, "\"local\":[null"));
    sim_outcome_fini(&out);
}

int main(void)
{
    setenv("FL_LOG_LEVEL", "error", 0);
    fl_scratch_files();
    calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (calls == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_any_training_it_goes_on, begin, end),
        cmocka_unit_test_setup_teardown(stopped_at_any_training_it_burns_nothing, begin, end),
        cmocka_unit_test_setup_teardown(without_privacy_it_ends_with_the_same_bits, begin, end),
        cmocka_unit_test_setup_teardown(what_is_finished_is_printed_again, begin, end),
        cmocka_unit_test_setup_teardown(another_run_does_not_enter_the_folder, begin, end),
        cmocka_unit_test_setup_teardown(a_budget_without_room_for_a_kill_is_said, begin, end),
        cmocka_unit_test_setup_teardown(sets_of_classes_go_the_whole_way, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
