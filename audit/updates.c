#include "audit/updates.h"

#include "base/file.h"
#include "privacy/update.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_BYTES[] = "these are not the bytes that the ledger accounts for";
static const char WHY_NOISE[] =
    "patients are protected by the noise, and the released numbers do not show as much as was claimed";
static const char WHY_REPEAT[] = "the difference of two updates with the same noise holds none";

/* A pair costs as many multiplications as it has coordinates: so many in all, about ten seconds. */
static const double WORK_MAX = 4e10;
static const size_t KEPT_MAX = (size_t)1 << 26; /* floats kept for the pairs */

/* The noise of a debit, from its RESERVE. */
typedef struct terms {
    uint64_t variance;
    uint32_t steps;
} terms;

/* A probe that is compared with the others. */
typedef struct probe {
    const dp_debit *debit;
    fl_hash hash;
    size_t n;
    float *unit;
} probe;

typedef struct update_check {
    audit_evidence *node;
    const char *dir;
    audit_updates *out;
    terms *terms; /* of each debit, in the order of the state */
    probe *probes;
    size_t n_probes, per_probe; /* coordinates that are kept of each */
    fl_buf bytes;
    int64_t *values;
    size_t n_values;
} update_check;

/* --- the bytes --- */

static void take_terms(void *context, const dp_entry *e)
{
    update_check *c = context;
    const dp_ledger_state *s = dp_replay_state(c->node->replay);
    const dp_debit *d = dp_replay_debit(c->node->replay, e->debit);
    if (d && d->seq == e->seq)
        c->terms[d - s->debits] = (terms){.variance = e->noise_variance, .steps = e->steps};
}

/* FL_ENOTFOUND when none of the three places has it. */
static fl_code read_object(fl_buf *bytes, const char *dir, const char *hex, fl_err *err)
{
    static const char *const forms[] = {"%s/objects/%.2s/%s", "%s/%.2s/%s"};
    char path[FL_PATH_MAX];
    for (size_t i = 0; i < 3; i++) {
        fl_buf_clear(bytes);
        int n = i < 2 ? snprintf(path, sizeof path, i == 0 ? forms[0] : forms[1], dir, hex, hex + 2)
                      : snprintf(path, sizeof path, "%s/%s", dir, hex);
        if (n < 0 || n >= (int)sizeof path)
            return fl_fail(err, FL_EFORMAT, "%.64s...: the path is too long", dir);
        fl_code code = fl_file_read(bytes, path, err);
        if (code != FL_ENOTFOUND)
            return code;
    }
    return FL_ENOTFOUND;
}

/* Hash, and for lines of version 2 length and form; *shape is set then. */
static bool is_as_released(update_check *c, const dp_debit *d, dp_update_shape *shape)
{
    char hex[DP_HEX_SIZE];
    fl_hash hash = fl_sha256(c->bytes.bytes, c->bytes.size);
    dp_hash_text(hex, &hash);
    if (strcmp(hex, d->update_hash) != 0) {
        audit_find(&c->node->findings, d->release_seq, WHY_BYTES, "the file of update %.12s has another hash",
                   d->update_hash);
        return false;
    }
    if (c->bytes.size != d->bytes) {
        audit_find(&c->node->findings, d->release_seq, WHY_BYTES, "update %.12s has %zu bytes, RELEASE says %" PRIu64,
                   d->update_hash, c->bytes.size, d->bytes);
        return false;
    }
    *shape = (dp_update_shape){
        .coordinates = d->coordinates, .probe = d->probe, .bits = d->update_bits, .cells = d->cells};
    return d->coordinates > 0 && dp_update_check(shape, NULL) == FL_OK;
}

static fl_code unpack(update_check *c, const dp_debit *d, const dp_update_shape *shape, bool *ok, fl_err *err)
{
    fl_err why;
    if (shape->coordinates > c->n_values) {
        free(c->values);
        c->n_values = 0;
        c->values = malloc(shape->coordinates * sizeof *c->values);
        if (!c->values)
            return fl_fail(err, FL_EENV, "%s: no memory left for an update", c->node->path);
        c->n_values = shape->coordinates;
    }
    *ok = dp_update_read(c->values, NULL, shape, c->bytes.bytes, c->bytes.size, &why) == FL_OK;
    if (!*ok)
        audit_find(&c->node->findings, d->release_seq, WHY_BYTES, "update %.12s: %s", d->update_hash, why.text);
    return FL_OK;
}

/* --- the noise --- */

/* Clamping to the width cuts tails off; the noise has to fit with room. */
static bool is_wide_enough(const terms *t, uint32_t bits)
{
    double half = bits >= 64 ? 9e18 : (double)((uint64_t)1 << (bits - 1));
    return half * half >= 36.0 * (double)t->variance * t->steps;
}

static void test_one(update_check *c, const dp_debit *d, const dp_update_shape *shape, const terms *t)
{
    audit_findings *list = &c->node->findings;
    const char *name = d->update_hash;
    double n = (double)c->out->released;
    dp_presence p, w;
    size_t n_weights = shape->coordinates - shape->probe;
    dp_presence_measure(&p, c->values + n_weights, shape->probe, t->variance, t->steps);
    dp_presence_measure(&w, c->values, n_weights, t->variance, t->steps);
    dp_presence_add(&c->out->probes, &p);
    c->out->tested += p.n > 0;
    if (p.is_constant)
        audit_find(list, d->release_seq, WHY_NOISE, "update %.12s: its %u integers of pure noise are all the same",
                   name, shape->probe);
    double spread = dp_presence_spread(&p), centre = dp_presence_centre(&p),
           weights = dp_presence_weights(&w, t->steps == 1);
    if (spread < DP_PRESENCE_EACH / (2 * n))
        audit_find(list, d->release_seq, WHY_NOISE,
                   "update %.12s: %.1f %% of the claimed noise in %u integers of pure noise (chance of that: %.1e)",
                   name, 100 * dp_presence_ratio(&p), shape->probe, spread);
    if (centre < DP_PRESENCE_EACH / (2 * n))
        audit_find(list, d->release_seq, WHY_NOISE,
                   "update %.12s: its noise does not lie around zero (chance of that: %.1e)", name, centre);
    if (weights < DP_PRESENCE_WEIGHTS / n)
        audit_find(list, d->release_seq, WHY_NOISE,
                   "update %.12s: weights and noise together are %.1f %% of the claimed noise (chance of that: %.1e)",
                   name, 100 * dp_presence_ratio(&w), weights);
}

static fl_code keep_probe(update_check *c, const dp_debit *d, const dp_update_shape *shape, fl_err *err)
{
    probe *p = &c->probes[c->n_probes++];
    const int64_t *x = c->values + shape->coordinates - shape->probe;
    *p = (probe){.debit = d, .hash = fl_sha256(x, shape->probe * sizeof *x), .n = shape->probe};
    if (p->n > c->per_probe)
        p->n = c->per_probe;
    p->unit = malloc((p->n + 1) * sizeof *p->unit);
    if (!p->unit)
        return fl_fail(err, FL_EENV, "%s: no memory left for an update", c->node->path);
    dp_presence_unit(p->unit, x, p->n);
    return FL_OK;
}

static fl_code check_one(update_check *c, const dp_debit *d, const terms *t, fl_err *err)
{
    dp_update_shape shape;
    bool ok = false;
    fl_code code = read_object(&c->bytes, c->dir, d->update_hash, err);
    if (code == FL_ENOTFOUND)
        return FL_OK;
    FL_TRY(code);
    c->out->here++;
    if (!is_as_released(c, d, &shape) || t->variance == 0)
        return FL_OK;
    FL_TRY(unpack(c, d, &shape, &ok, err));
    if (!ok)
        return FL_OK;
    if (!is_wide_enough(t, shape.bits)) {
        audit_find(&c->node->findings, d->seq, WHY_NOISE, "RESERVE packs noise into %u bits, which cut it off",
                   shape.bits);
        return FL_OK;
    }
    test_one(c, d, &shape, t);
    return shape.probe > 0 ? keep_probe(c, d, &shape, err) : FL_OK;
}

static void test_all(update_check *c)
{
    audit_updates *out = c->out;
    if (out->tested == 0)
        return;
    double chance = dp_presence_spread(&out->probes);
    out->ratio = dp_presence_ratio(&out->probes);
    out->power = dp_presence_power(out->probes.n, 0.05, DP_PRESENCE_POOLED);
    if (chance < DP_PRESENCE_POOLED)
        audit_find(
            &c->node->findings, 0, WHY_NOISE,
            "all updates together: %.2f %% of the claimed noise in %.0f integers of pure noise (chance of that: %.1e)",
            100 * out->ratio, out->probes.n, chance);
}

/* --- pairs --- */

static int by_hash(const void *a, const void *b)
{
    const probe *x = a, *y = b;
    int order = memcmp(x->hash.bytes, y->hash.bytes, sizeof x->hash.bytes);
    return order ? order : (x->debit->seq > y->debit->seq) - (x->debit->seq < y->debit->seq);
}

/* The same integers, however many updates there are. */
static void test_equal(update_check *c)
{
    qsort(c->probes, c->n_probes, sizeof *c->probes, by_hash);
    for (size_t i = 1; i < c->n_probes; i++) {
        const probe *p = &c->probes[i - 1], *q = &c->probes[i];
        if (p->n > 0 && fl_hash_equal(&p->hash, &q->hash))
            audit_find(&c->node->findings, q->debit->release_seq, WHY_REPEAT,
                       "update %.12s has the very noise of update %.12s", q->debit->update_hash, p->debit->update_hash);
    }
}

static void test_pairs(update_check *c)
{
    double pairs = (double)c->n_probes * ((double)c->n_probes - 1) / 2, limit = 1;
    size_t n_of_limit = 0; /* most updates of a ledger have one size */
    for (size_t i = 0; i < c->n_probes; i++) {
        for (size_t j = 0; j < i; j++) {
            const probe *p = &c->probes[i], *q = &c->probes[j];
            size_t n = p->n < q->n ? p->n : q->n;
            if (fl_hash_equal(&p->hash, &q->hash) || p->n != q->n)
                continue; /* said already; of other shapes nothing is comparable */
            if (n != n_of_limit)
                limit = dp_presence_threshold(n_of_limit = n, pairs, DP_PRESENCE_REPEAT);
            double r = dp_presence_correlation(p->unit, q->unit, n);
            if (n > 0 && (r > limit || r < -limit))
                audit_find(&c->node->findings, p->debit->release_seq, WHY_REPEAT,
                           "the noise of update %.12s repeats that of update %.12s (correlation %.3f, chance gives at "
                           "most %.3f)",
                           p->debit->update_hash, q->debit->update_hash, r, limit);
        }
    }
    c->out->pairs = pairs;
}

/* How many coordinates of each probe are compared: all, but where there are very many updates. */
static size_t room(uint64_t n_updates)
{
    double n = n_updates < 2 ? 2 : (double)n_updates;
    double by_work = WORK_MAX / (n * (n - 1) / 2), by_memory = (double)KEPT_MAX / n;
    double least = by_work < by_memory ? by_work : by_memory;
    return least < 64 ? 64 : (size_t)least;
}

static fl_code check_all(update_check *c, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(c->node->replay);
    FL_TRY(audit_evidence_each(c->node, AUDIT_KIND(RESERVE), NULL, take_terms, c, err));
    for (size_t i = 0; i < s->n_debits; i++)
        c->out->released += s->debits[i].update_hash[0] != 0;
    c->per_probe = room(c->out->released);
    for (size_t i = 0; i < s->n_debits; i++) {
        if (s->debits[i].update_hash[0])
            FL_TRY(check_one(c, &s->debits[i], &c->terms[i], err));
    }
    test_all(c);
    test_equal(c);
    test_pairs(c);
    for (size_t i = 0; i < c->n_probes; i++)
        c->out->compared = c->probes[i].n > c->out->compared ? c->probes[i].n : c->out->compared;
    return FL_OK;
}

fl_code audit_check_updates(audit_updates *out, audit_evidence *node, const char *dir, fl_err *err)
{
    const dp_ledger_state *s = dp_replay_state(node->replay);
    update_check c = {.node = node, .dir = dir, .out = out};
    *out = (audit_updates){0};
    if (!fl_file_exists(dir))
        return fl_fail(err, FL_ENOTFOUND, "%s: is not there: expected a folder of updates", dir);
    fl_buf_init(&c.bytes, (size_t)1 << 30);
    c.terms = calloc(s->n_debits + 1, sizeof *c.terms);
    c.probes = calloc(s->n_debits + 1, sizeof *c.probes);
    fl_code code = c.terms && c.probes ? check_all(&c, err) : fl_fail(err, FL_EENV, "%s: no memory left", node->path);
    for (size_t i = 0; i < c.n_probes; i++)
        free(c.probes[i].unit);
    free(c.probes);
    free(c.terms);
    free(c.values);
    fl_buf_fini(&c.bytes);
    return code;
}
