#include "tests/coordinator/world.h"

#include "tests/privacy/plain_update.h"
#include "train/dpsgd.h"

static void on_reply(void *ctx, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    world *w = ctx;
    assert_true(ticket < w->n_tickets);
    world_answer *a = &w->answers[ticket];
    assert_null(a->bytes); /* once */
    assert_false(a->ignored);
    a->bytes = malloc(n);
    a->n = n;
    memcpy(a->bytes, bytes, n);
}

static void on_ignore(void *ctx, uint64_t ticket)
{
    world *w = ctx;
    assert_true(ticket < w->n_tickets);
    assert_null(w->answers[ticket].bytes);
    assert_false(w->answers[ticket].ignored);
    w->answers[ticket].ignored = true;
}

static void on_timer(void *ctx, int64_t at_ms)
{
    ((world *)ctx)->timer_ms = at_ms;
}

static int64_t on_now(void *ctx)
{
    return ((world *)ctx)->now_ms;
}

static void on_say(void *ctx, const char *line)
{
    world *w = ctx;
    const size_t n = strlen(w->said);
    snprintf(w->said + n, sizeof w->said - n, "%s\n", line);
}

void world_init(world *w, const char *dir, uint32_t n_sites)
{
    fl_err err;
    uint8_t seed[32] = {7};
    memset(w, 0, sizeof *w);
    w->now_ms = 1000;
    w->n_sites = n_sites;
    if (dir) {
        assert_ok(coord_store_make(dir, "hub", "localhost", 7443, NULL, &err), err);
        assert_ok(coord_store_open(&w->store, dir, &err), err);
    } else
        assert_ok(coord_store_open_memory(&w->store, "hub", seed, &err), err);
    for (uint32_t i = 0; i < n_sites; i++) {
        char origin[DP_ORIGIN_MAX];
        coord_site_row row = {0};
        seed[0] = (uint8_t)(100 + i);
        assert_ok(fl_sign_key_from_seed(&w->keys[i], seed, &err), err);
        snprintf(w->names[i], sizeof w->names[i], "%c", 'a' + (int)i);
        memcpy(row.name, w->names[i], sizeof row.name);
        memcpy(row.public_key, w->keys[i].public_key, sizeof row.public_key);
        dp_origin(origin, row.name);
        dp_vkey_text(row.vkey, origin, row.public_key);
        row.spki = fl_sha256(row.name, 1);
        assert_ok(coord_site_add(&w->store, &row, &err), err);
    }
}

void world_study(world *w, const char *name, const char *hospitals, unsigned rounds, unsigned quorum, const char *more)
{
    fl_err err;
    char text[2048];
    snprintf(text, sizeof text,
             "[study]\nname = %s\nclasses = normal, ill\nhospitals = %s\n[input]\nshape = 1x8x8\n"
             "[model]\narchitecture = linear\n[rounds]\ncount = %u\nlocal_steps = 1\nquorum = %u\ndeadline_s = 60\n"
             "%s[privacy]\nepsilon = 8\ndelta = 0.00001\nsampling_rate = 0.1\nnoise_multiplier = auto\nclip_norm = 1\n",
             name, hospitals, rounds, quorum, more);
    assert_ok(nn_plan_from_study(&w->plan, text, "study.ini", ".", &err), err);
    assert_ok(coord_study_add(&w->store, &w->plan, &err), err);
}

void world_start(world *w)
{
    fl_err err;
    const coord_host_config config = {
        .ctx = w, .reply = on_reply, .ignore = on_ignore, .timer = on_timer, .now_ms = on_now, .say = on_say};
    w->timer_ms = 0;
    assert_ok(coord_host_open(&w->host, &w->store, &config, &err), err);
    coord_host_start(w->host);
}

void world_crash(world *w)
{
    coord_host_close(w->host);
    w->host = NULL;
}

void world_fini(world *w)
{
    coord_host_close(w->host);
    coord_store_close(&w->store);
    for (uint32_t i = 0; i < w->n_sites; i++) {
        fl_sign_key_fini(&w->keys[i]);
        dp_forest_fini(&w->lines[i].forest);
    }
    for (uint64_t i = 0; i < w->n_tickets; i++)
        free(w->answers[i].bytes);
    wire_decoder_fini(&w->decoder);
}

void world_pass(world *w, int64_t ms)
{
    const int64_t until = w->now_ms + ms;
    while (w->timer_ms > 0 && w->timer_ms <= until) {
        if (w->now_ms < w->timer_ms)
            w->now_ms = w->timer_ms;
        w->timer_ms = 0;
        coord_host_timer(w->host);
    }
    w->now_ms = until;
}

static uint64_t hand_in(world *w, uint32_t site, const wire_message *m)
{
    fl_err err;
    fl_buf b;
    fl_buf_init(&b, WIRE_ENVELOPE_MAX);
    assert_ok(wire_pack(&b, m, &w->keys[site], &err), err);
    assert_true(w->n_tickets < WORLD_TICKETS);
    const uint64_t ticket = w->n_tickets++;
    coord_host_request(w->host, ticket, b.bytes, b.size, w->names[site]);
    fl_buf_fini(&b);
    return ticket;
}

uint64_t world_ask(world *w, uint32_t site, wire_message *m)
{
    memcpy(m->sender, w->names[site], sizeof m->sender);
    m->sequence = w->boots[site] << 32 | ++w->sent[site];
    m->request_id = (uint64_t)site << 48 | m->sequence;
    return hand_in(w, site, m);
}

uint64_t world_again(world *w, uint32_t site, const wire_message *m)
{
    return hand_in(w, site, m);
}

wire_kind world_answer_of(world *w, uint64_t ticket, wire_message *out)
{
    fl_err err;
    const world_answer *a = &w->answers[ticket];
    if (!a->bytes)
        return WIRE_NONE;
    assert_ok(wire_unpack(out, &w->decoder, a->bytes, a->n, &err), err);
    assert_ok(wire_verify(&w->decoder, w->store.key.public_key, &err), err);
    return out->kind;
}

wire_kind world_call(world *w, uint32_t site, wire_message *m, wire_message *out)
{
    fl_err err;
    const uint64_t ticket = world_ask(w, site, m);
    const wire_kind kind = world_answer_of(w, ticket, out);
    if (kind != WIRE_NONE)
        assert_ok(wire_check_reply(m, out, "hub", &err), err);
    return kind;
}

void world_join(world *w, uint32_t site, const char *study, uint64_t patients)
{
    wire_message m = {.kind = WIRE_JOIN}, r;
    const coord_study *st = world_of(w, study);
    snprintf(m.study, sizeof m.study, "%s", study);
    m.u.join.plan_hash = st->plan_hash;
    m.u.join.declared_patients = patients;
    assert_int_equal(world_call(w, site, &m, &r), WIRE_OK);
}

uint64_t world_poll(world *w, uint32_t site, uint32_t known)
{
    wire_message m = {.kind = WIRE_POLL, .u.poll = {.n_plans_known = known, .wait_ms = 25000}};
    m.u.poll.ledger_size = w->lines[site].held;
    return world_ask(w, site, &m);
}

wire_kind world_show_lines(world *w, uint32_t site, wire_message *r)
{
    wire_message m;
    lines_head(&w->lines[site], &m, w->names[site], &w->keys[site]);
    const wire_kind kind = world_call(w, site, &m, r);
    if (kind == WIRE_COSIGNED)
        w->lines[site].held = w->lines[site].forest.size;
    return kind;
}

wire_kind world_show_head(world *w, uint32_t site, wire_message *r)
{
    lines_add(&w->lines[site], "a line");
    return world_show_lines(w, site, r);
}

void world_head(world *w, uint32_t site)
{
    wire_message r;
    assert_int_equal(world_show_head(w, site, &r), WIRE_COSIGNED);
}

void world_update(const world *w, fl_buf *bytes, unsigned seed)
{
    const coord_study *st = w->host ? world_of(w, w->plan.name) : NULL;
    const dp_update_shape shape = nn_plan_update(&w->plan, st && st->round > 0 ? st->round : 1);
    const size_t n = shape.coordinates + shape.cells;
    int64_t *u = malloc(n * sizeof *u);
    for (size_t i = 0; i < n; i++)
        u[i] = (int64_t)((seed * 2654435761u + i * 40503u) % 2001) - 1000;
    plain_update(bytes, &shape, u);
    free(u);
}

const coord_study *world_of(const world *w, const char *study)
{
    const coord_state *s = coord_host_state(w->host);
    const uint32_t i = coord_find_study(s, study);
    assert_true(i < s->n_studies);
    return &s->studies[i];
}

void world_debit(char debit[WIRE_DEBIT_SIZE], uint32_t site, unsigned seed)
{
    snprintf(debit, WIRE_DEBIT_SIZE, "%016x%016x", site, seed);
}

wire_kind world_contribute(world *w, uint32_t site, const char *study, unsigned seed, wire_message *out)
{
    const coord_study *st = world_of(w, study);
    wire_message m = {.kind = WIRE_UPLOAD, .round = st->round}, r = {.kind = WIRE_RELEASED, .round = st->round};
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    world_update(w, &bytes, seed);
    snprintf(m.study, sizeof m.study, "%s", study);
    world_debit(m.debit, site, seed + 100000 * st->round + (study[0] == 't' ? 50000 : 0));
    m.u.upload.object = fl_sha256(bytes.bytes, bytes.size);
    m.u.upload.total = bytes.size;
    m.u.upload.bytes = bytes.bytes;
    m.u.upload.n_bytes = (uint32_t)bytes.size;
    memcpy(r.study, m.study, sizeof r.study);
    memcpy(r.debit, m.debit, sizeof r.debit);
    r.u.released.update_hash = m.u.upload.object;
    r.u.released.update_bytes = bytes.size;
    r.u.released.announce_hash = st->announce_hash;
    lines_release(&w->lines[site], &r, w->names[site]);
    wire_kind kind = world_show_lines(w, site, out);
    if (kind == WIRE_COSIGNED)
        kind = world_call(w, site, &m, out);
    if (kind == WIRE_LENGTH) {
        assert_int_equal(out->u.length.length, bytes.size);
        lines_prove(&w->lines[site], &r);
        kind = world_call(w, site, &r, out);
    }
    fl_buf_fini(&bytes);
    return kind;
}
