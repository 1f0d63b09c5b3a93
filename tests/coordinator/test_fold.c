#include "coordinator/fold.h"
#include "coordinator/query.h"
#include "tests/coordinator/world.h"
#include "train/dpsgd.h"
#include "train/model.h"
#include "train/server.h"

#include <fcntl.h>
#include <math.h>

static world *make(const char *dir, const char *more, uint32_t n, unsigned rounds)
{
    world *w = malloc(sizeof *w);
    world_init(w, dir, n);
    world_study(w, "s", "all", rounds, n, more);
    world_start(w);
    for (uint32_t i = 0; i < n; i++)
        world_join(w, i, "s", 100 + 50 * i);
    return w;
}

static void drop(world *w)
{
    world_fini(w);
    free(w);
}

static void contribute(world *w, uint32_t site, unsigned seed)
{
    wire_message r;
    assert_int_equal(world_contribute(w, site, "s", seed, &r), WIRE_RECEIPT);
}

static void the_order_of_arrival_does_not_matter(void **state)
{
    (void)state;
    static const uint32_t orders[][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 3, 1, 0}};
    fl_hash model[3][3], server[3][3], released[3][3];
    for (int k = 0; k < 3; k++) {
        world *w = make(NULL, "[server]\noptimiser = momentum\nmomentum = 0.9\naverage = ema:0.9\nschedule = cosine\n",
                        4, 2);
        for (unsigned round = 0; round < 2; round++)
            for (int i = 0; i < 4; i++)
                contribute(w, orders[k][i], 10 * round + orders[k][i]);
        assert_int_equal(world_of(w, "s")->phase, COORD_DONE);
        for (uint32_t round = 0; round < 3; round++)
            assert_true(
                coord_model(&w->store, "s", round, &model[k][round], &server[k][round], &released[k][round], NULL));
        drop(w);
        assert_memory_equal(model[k], model[0], sizeof model[0]);
        assert_memory_equal(server[k], server[0], sizeof server[0]);
        assert_memory_equal(released[k], released[0], sizeof released[0]);
    }
    assert_true(memcmp(&model[0][1], &model[0][2], sizeof model[0][1]) != 0);
    assert_true(memcmp(&model[0][2], &released[0][2], sizeof model[0][1]) != 0); /* the mean is another vector */
}

static void read_model(world *w, float *out, uint32_t round)
{
    fl_err err;
    fl_hash model;
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    assert_true(coord_model(&w->store, "s", round, &model, NULL, NULL, NULL));
    assert_ok(fl_objects_get(w->store.objects, &bytes, &model, &err), err);
    assert_ok(nn_weights_read(out, w->plan.n_weights, bytes.bytes, bytes.size, &err), err);
    fl_buf_fini(&bytes);
}

/* With plain averaging and server learning rate 1, one hospital's round is its own local step, written out here. */
static void one_update_is_the_identity(void **state)
{
    (void)state;
    fl_err err;
    world *w = make(NULL, "", 1, 1);
    float before[256], after[256];
    fl_buf packed;
    int64_t u[512];
    const dp_update_shape shape = nn_plan_update(&w->plan, 1);
    assert_true(w->plan.n_weights <= 256);
    read_model(w, before, 0);
    contribute(w, 0, 3);
    read_model(w, after, 1);
    fl_buf_init(&packed, 1 << 20);
    world_update(w, &packed, 3);
    assert_ok(dp_update_read(u, NULL, &shape, packed.bytes, packed.size, &err), err);
    fl_buf_fini(&packed);
    double largest = 0;
    for (size_t i = 0; i < w->plan.n_weights; i++) {
        const double moved = w->plan.phases[0].local_learning_rate * nn_phase_grid(nn_plan_main(&w->plan)) *
                             (double)u[i] / (0.1 * 100);
        assert_true(fabs((before[i] - moved) - after[i]) <= 1e-6 * (fabs(moved) + fabs(before[i])) + 1e-12);
        largest = fmax(largest, fabs(moved));
    }
    assert_true(largest > 0);
    drop(w);
}

static void weights_are_the_declared_patients(void **state)
{
    (void)state;
    float before[256], after[256];
    int64_t sum[256] = {0}, u[512];
    fl_err err;
    world *w = make(NULL, "", 3, 1);
    const dp_update_shape shape = nn_plan_update(&w->plan, 1);
    read_model(w, before, 0);
    for (uint32_t i = 0; i < 3; i++) {
        fl_buf packed;
        fl_buf_init(&packed, 1 << 20);
        world_update(w, &packed, 20 + i);
        assert_ok(dp_update_read(u, NULL, &shape, packed.bytes, packed.size, &err), err);
        for (size_t k = 0; k < w->plan.n_weights; k++)
            sum[k] += u[k];
        fl_buf_fini(&packed);
        contribute(w, i, 20 + i);
    }
    read_model(w, after, 1);
    for (size_t k = 0; k < w->plan.n_weights; k++) {
        const double moved = w->plan.phases[0].local_learning_rate * nn_phase_grid(nn_plan_main(&w->plan)) *
                             (double)sum[k] / (0.1 * 450);
        assert_true(fabs((before[k] - moved) - after[k]) <= 1e-6 * (fabs(moved) + fabs(before[k])) + 1e-12);
    }
    drop(w);
}

/* Finds the file of site's update and turns one byte of it around. */
static void damage(world *w, uint32_t round, const char *site)
{
    fl_hash hash;
    char debit[WIRE_DEBIT_SIZE], hex[2 * FL_HASH_SIZE + 1], path[FL_PATH_MAX];
    uint8_t byte;
    assert_true(coord_contribution(&w->store, "s", round, site, &hash, debit, NULL));
    fl_hex_encode(hex, hash.bytes, FL_HASH_SIZE);
    assert_true(snprintf(path, sizeof path, "%s/objects/%.2s/%s", w->store.dir, hex, hex + 2) < (int)sizeof path);
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 5), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 5), 1);
    close(fd);
}

static void a_damaged_update_is_refused_until_it_is_brought_back(void **state)
{
    world *w = make(*state, "", 3, 2);
    contribute(w, 0, 1);
    contribute(w, 1, 2);
    damage(w, 1, "b");
    contribute(w, 2, 3);
    assert_int_equal(world_of(w, "s")->phase, COORD_FOLDING); /* everybody is in; nothing was aggregated */
    assert_non_null(strstr(w->said, "update of b"));
    assert_non_null(strstr(w->said, "changed on the disk"));
    assert_false(coord_model(&w->store, "s", 1, NULL, NULL, NULL, NULL));
    world_pass(w, 20000);
    assert_int_equal(world_of(w, "s")->phase, COORD_FOLDING);
    world_crash(w);
    world_start(w);
    assert_int_equal(world_of(w, "s")->phase, COORD_FOLDING);
    damage(w, 1, "b"); /* and back */
    world_pass(w, 20000);
    assert_int_equal(world_of(w, "s")->phase, COORD_OPEN);
    assert_int_equal(world_of(w, "s")->round, 2);
    drop(w);
}

static void a_missing_update_is_refused(void **state)
{
    fl_err err;
    fl_hash hash;
    char debit[WIRE_DEBIT_SIZE];
    agg_result result;
    world *w = make(*state, "", 3, 2);
    contribute(w, 0, 1);
    assert_true(coord_contribution(&w->store, "s", 1, "a", &hash, debit, NULL));
    assert_ok(fl_objects_remove(w->store.objects, &hash, &err), err);
    contribute(w, 1, 2);
    contribute(w, 2, 3);
    assert_int_equal(agg_fedavg(&w->store, &w->plan, 1, &result, &err), FL_EENV);
    assert_says(err, "study s: round 1: update of a: object");
    drop(w);
}

typedef struct seen {
    uint32_t rounds, same;
} seen;

static void on_round(void *ctx, uint32_t round, uint32_t n, bool is_same)
{
    seen *s = ctx;
    assert_int_equal(n, round == 0 ? 0 : 2);
    s->rounds++;
    s->same += is_same;
}

static void refold_gives_every_model_again_and_notices_another(void **state)
{
    (void)state;
    fl_err err;
    uint32_t n;
    seen s = {0};
    world *w = make(NULL, "[server]\noptimiser = momentum\naverage = tail:0.5\n", 2, 3);
    for (unsigned round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 2; i++)
            contribute(w, i, 10 * round + i);
    assert_ok(agg_refold(&w->store, &w->plan, on_round, &s, &n, &err), err);
    assert_int_equal(n, 3);
    assert_int_equal(s.rounds, 4);
    assert_int_equal(s.same, 4);

    /* somebody exchanged an update for another that is whole: from that round on nothing agrees */
    fl_hash other;
    char debit[WIRE_DEBIT_SIZE];
    fl_query q;
    assert_true(coord_contribution(&w->store, "s", 1, "a", &other, debit, NULL));
    assert_ok(
        fl_query_open(&q, w->store.db, "UPDATE contribution SET update_hash = ? WHERE round = 2 AND site = 'a'", &err),
        err);
    coord_bind_hash(&q, 1, &other);
    assert_ok(fl_query_run(&q, &err), err);
    s = (seen){0};
    assert_int_equal(agg_refold(&w->store, &w->plan, on_round, &s, &n, &err), FL_EREFUSED);
    assert_says(err, "round 2 is not what its contributions give (2 rounds differ)");
    assert_int_equal(s.same, 2);
    drop(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_of_arrival_does_not_matter),
        cmocka_unit_test(one_update_is_the_identity),
        cmocka_unit_test(weights_are_the_declared_patients),
        in_scratch(a_damaged_update_is_refused_until_it_is_brought_back),
        in_scratch(a_missing_update_is_refused),
        cmocka_unit_test(refold_gives_every_model_again_and_notices_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
