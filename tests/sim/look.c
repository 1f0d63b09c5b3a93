#include "tests/sim/look.h"

#include "base/rng.h"
#include "node/data_rows.h"
#include "node/worker.h"
#include "proto/msg/envelope.h"
#include "sim/world.h"
#include "tests/base/test.h"
#include "train/model.h"

#include <fcntl.h>

enum { SIDE = 12 };

static fl_err err;

void hospital_add(hospital *h, picture p, uint32_t copies)
{
    for (uint32_t i = 0; i < copies && h->n < LOOK_MAX_IMAGES; i++)
        h->list[h->n++] = p;
}

static void put_picture(node_store *s, const picture *p, uint32_t index)
{
    uint16_t pixels[SIDE * SIDE];
    uint8_t patient[32] = {(uint8_t)p->patient, (uint8_t)(p->patient >> 8), 7},
            file[32] = {(uint8_t)index, (uint8_t)(index >> 8)};
    fl_rng r;
    fl_hash object;
    fl_query q;
    fl_rng_init(&r, index, p->patient);
    for (uint32_t i = 0; i < SIDE * SIDE; i++)
        pixels[i] = (uint16_t)(20 + fl_rng_below(&r, p->contrast + 1u));
    const img_image image = {.width = SIDE, .height = SIDE, .bits = 8, .pixels = pixels};
    assert_ok(node_pixels_put(s->objects, &object, &image, &err), err);
    if (p->is_lost)
        assert_ok(fl_objects_remove(s->objects, &object, &err), err);
    assert_ok(fl_query_open(&q, s->db,
                            "INSERT INTO image(dataset, patient, file, object, width, height, bits, low, high, label,"
                            " split, modality, body_part, view, laterality)"
                            " VALUES('main', ?, ?, ?, 12, 12, 8, 0, 1, ?, ?, '', '', '', '')",
                            &err),
              err);
    fl_bind_blob(&q, 1, patient, sizeof patient);
    fl_bind_blob(&q, 2, file, sizeof file);
    fl_bind_blob(&q, 3, object.bytes, sizeof object.bytes);
    fl_bind_text(&q, 4, p->label);
    fl_bind_int(&q, 5, p->split);
    assert_ok(fl_query_run(&q, &err), err);
}

/* ---- what is seen of a run ---------------------------------------------------------------------------------------- */

typedef struct run {
    sim_world *world;
    fl_pool *pool;
    const look_at *what;
    wire_decoder decoder;
    fl_buf seen; /* text: messages, then ledger lines, then log lines */
} run;

static void saw(void *ctx, uint32_t node, bool by_node, int64_t at_ms, const uint8_t *bytes, size_t n)
{
    run *r = ctx;
    wire_message m;
    assert_ok(wire_unpack(&m, &r->decoder, bytes, n, &err), err);
    fl_buf_printf(&r->seen, "%lld ms node %u %s kind %d, %zu bytes\n", (long long)at_ms, node, by_node ? "to" : "from",
                  (int)m.kind, n);
}

static bool is_hiding(const char *key)
{
    static const char hiding[] =
        " prev commitment debit with update_hash model_hash announce_hash receipt checkpoint t ";
    char word[80];
    snprintf(word, sizeof word, " %s ", key);
    return strstr(hiding, word) != NULL;
}

/* Keys in their order, values unless they hide, and the line's length. */
static void see_line(fl_buf *seen, const char *line)
{
    fl_json *j;
    assert_ok(fl_json_parse(&j, line, strlen(line), "line", &err), err);
    fl_buf_printf(seen, "%zu", strlen(line));
    for (size_t i = 0; fl_json_key_at(j, i); i++) {
        const char *key = fl_json_key_at(j, i), *text = fl_json_text(j, key);
        int64_t number = -1;
        (void)fl_json_int(j, key, &number);
        fl_buf_printf(seen, " %s=", key);
        if (text && is_hiding(key))
            fl_buf_printf(seen, "(%zu)", strlen(text));
        else
            fl_buf_printf(seen, "%s/%lld", text ? text : "", (long long)number);
    }
    fl_buf_add_text(seen, "\n");
    fl_json_free(j);
}

static void see_ledger(fl_buf *seen, fl_db *db)
{
    fl_query q;
    assert_ok(fl_query_open(&q, db, "SELECT line FROM entry ORDER BY seq", &err), err);
    while (fl_query_row(&q))
        see_line(seen, fl_column_text(&q, 0));
    assert_ok(fl_query_close(&q, &err), err);
}

/* Without the time at the head, and with every long word of hexadecimal digits as one letter. */
static void see_log(fl_buf *seen, const char *log)
{
    while (*log) {
        const char *end = strchr(log, '\n'), *at = memchr(log, ' ', end ? (size_t)(end - log) : strlen(log));
        while (at && at < end) {
            const size_t hex = strspn(at, "0123456789abcdef");
            if (hex >= 16)
                fl_buf_add_text(seen, "#");
            else
                fl_buf_add(seen, at, hex ? hex : 1);
            at += hex ? hex : 1;
        }
        fl_buf_add_text(seen, "\n");
        log = end ? end + 1 : log + strlen(log);
    }
}

/* ---- a run -------------------------------------------------------------------------------------------------------- */

/* As in node/run.c and node/worker.c, from the store's rows. */
static fl_code train(void *ctx, uint32_t node, const node_training *what, fl_objects *objects, fl_hash *hash,
                     uint64_t *size_bytes, fl_err *e)
{
    run *r = ctx;
    node_store *s = sim_world_node(r->world, node);
    nn_dataset split[2] = {0};
    nn_trainer *t = NULL;
    fl_buf model;
    float *w = calloc(r->what->plan->n_weights, sizeof *w);
    fl_buf_init(&model, 1 << 20);
    assert_non_null(w);
    assert_ok(fl_objects_get(objects, &model, &what->model_hash, &err), err);
    assert_ok(nn_weights_read(w, r->what->plan->n_weights, model.bytes, model.size, &err), err);
    for (node_split i = NODE_SPLIT_TRAIN; i <= NODE_SPLIT_VAL; i++)
        assert_ok(node_data_load(&split[i], s, "main", r->what->plan, i, &err), err);
    if (r->what->begins)
        r->what->begins();
    if (node == 0 && r->what->spoil)
        for (int i = 0; i < 2; i++)
            r->what->spoil(&split[i]);
    assert_ok(nn_trainer_create(&t, r->what->plan, &split[NODE_SPLIT_TRAIN], r->pool, &err), err);
    const node_splits splits = {&split[NODE_SPLIT_TRAIN], &split[NODE_SPLIT_VAL], r->pool};
    fl_code rc = node_update_make(hash, size_bytes, t, r->what->plan, &splits, w, what->declared_patients, what->round,
                                  objects, r->what->cancel, e);
    nn_trainer_destroy(t);
    nn_dataset_fini(&split[0]);
    nn_dataset_fini(&split[1]);
    fl_buf_fini(&model);
    free(w);
    return rc;
}

static int64_t train_ms(void *ctx, uint32_t node)
{
    return node == 0 ? 20 * (1 + (int64_t)((run *)ctx)->what->hospital->n) : 0;
}

/* Everything that is written to stderr while it runs. */
static char *with_log(void (*work)(run *r), run *r)
{
    char path[] = "/tmp/cordon-twins-XXXXXX";
    fl_buf text;
    const int file = mkstemp(path), kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0);
    unlink(path);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    work(r);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    const off_t n = lseek(file, 0, SEEK_END);
    fl_buf_init(&text, 1 << 24);
    char *copy = calloc(1, (size_t)n + 1);
    assert_non_null(copy);
    assert_int_equal(pread(file, copy, (size_t)n, 0), n);
    close(file);
    fl_buf_fini(&text);
    return copy;
}

static void live(run *r)
{
    static const uint64_t declared[] = {100, 100};
    const sim_world_config config = {.seed = 5,
                                     .n_nodes = 2,
                                     .declared = declared,
                                     .epsilon = "8",
                                     .delta = "0.00001",
                                     .multi = r->what->plan->multi,
                                     .train = train,
                                     .train_ms = train_ms,
                                     .sent = saw,
                                     .ctx = r};
    assert_ok(sim_world_create(&r->world, &config, &err), err);
    for (uint32_t i = 0; i < r->what->hospital->n; i++)
        put_picture(sim_world_node(r->world, 0), &r->what->hospital->list[i], i);
    put_picture(sim_world_node(r->world, 1), &(picture){1, NODE_SPLIT_TRAIN, "a", 200, false}, 0);
    assert_ok(sim_world_add_study(r->world, r->what->plan, &err), err);
    assert_ok(sim_world_run(r->world, 3600 * 1000 * 24, &err), err);
    if (sim_world_violations(r->world))
        fail_msg("%s", sim_world_violation(r->world, 0));
}

fl_buf look(const look_at *what)
{
    run r = {.what = what};
    fl_buf_init(&r.seen, 1 << 24);
    assert_ok(fl_pool_create(&r.pool, 1, &err), err);
    char *log = with_log(live, &r);
    for (uint32_t i = 0; i < 2; i++)
        see_ledger(&r.seen, sim_world_node(r.world, i)->db);
    see_ledger(&r.seen, sim_world_coordinator(r.world)->db);
    see_log(&r.seen, log);
    free(log);
    sim_world_destroy(r.world);
    fl_pool_destroy(r.pool);
    wire_decoder_fini(&r.decoder);
    assert_ok(fl_buf_check(&r.seen, "seen", &err), err);
    return r.seen;
}

void look_must_agree(const fl_buf *a, const fl_buf *b, const char *what)
{
    if (a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0)
        return;
    const char *x = fl_buf_text(a), *y = fl_buf_text(b);
    while (*x && *y) {
        const size_t n = strcspn(x, "\n"), m = strcspn(y, "\n");
        if (n != m || memcmp(x, y, n) != 0)
            fail_msg("%s: \"%.*s\" or \"%.*s\"", what, (int)n, x, (int)m, y);
        x += n + (x[n] != 0);
        y += m + (y[m] != 0);
    }
    fail_msg("%s: one has more lines", what);
}
