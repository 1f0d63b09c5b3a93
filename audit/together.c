/* Hospitals' ledgers beside one another: one study has one plan, one model and the same terms in each round, for everybody. */
#include "audit/evidence.h"
#include "base/grow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_PLAN[] =
    "a study is one plan for all: one of these hospitals trained by what the others did not approve";
static const char WHY_TERMS[] =
    "patients of one hospital are charged by other terms than those of the other for the same training";
static const char WHY_MODEL[] = "a model made for one hospital can draw out of its patients what the study's would not";
static const char WHY_COHORT[] = "the coordinator told these hospitals different things about the same round";

enum { BY_ROUND, BY_PLAN }; /* kinds of names in a dp_map */

/* What the first ledger says that has this round of a study, or this plan. */
typedef struct seen {
    const audit_evidence *in;
    uint64_t seq;
    char plan_hash[DP_HEX_SIZE], model_hash[DP_HEX_SIZE], announce_hash[DP_HEX_SIZE];
    uint32_t cohort, n_terms;
    dp_terms terms[DP_TERMS_MAX];
} seen;

typedef struct together {
    audit_evidence *node; /* the one that is read now */
    dp_map names;         /* (study, round), (study, plan hash): position in list */
    seen *list;
    size_t n, capacity;
    bool failed;
} together;

static const char *name_of(const seen *s)
{
    return dp_replay_state(s->in->replay)->node;
}

/* What an earlier ledger says; NULL: this one is the first, and is kept with these n terms. */
static const seen *earlier(together *c, const dp_entry *e, uint8_t kind, const dp_terms *terms, uint32_t n)
{
    const char *plan = kind == BY_PLAN ? e->plan_hash : "";
    const uint32_t round = kind == BY_ROUND ? e->round : 0;
    const uint32_t at = dp_map_find(&c->names, kind, e->study, plan, round);
    if (at != DP_MAP_NONE)
        return c->list[at].in == c->node ? NULL : &c->list[at];
    if (!fl_grow(&c->list, &c->capacity, c->n, sizeof *c->list) ||
        !dp_map_put(&c->names, kind, e->study, plan, round, (uint32_t)c->n)) {
        c->failed = true;
        return NULL;
    }
    seen *s = &c->list[c->n++];
    *s = (seen){.in = c->node, .seq = e->seq, .cohort = e->cohort, .n_terms = n};
    memcpy(s->plan_hash, e->plan_hash, sizeof s->plan_hash);
    memcpy(s->model_hash, e->model_hash, sizeof s->model_hash);
    memcpy(s->announce_hash, e->announce_hash, sizeof s->announce_hash);
    memcpy(s->terms, terms, n * sizeof *terms);
    return NULL;
}

static void check_approval(together *c, const dp_entry *e)
{
    const seen *s = e->n_terms > 0 ? earlier(c, e, BY_PLAN, e->terms, e->n_terms)
                                   : NULL; /* before version 3 a line has none */
    if (!s)
        return;
    bool same = s->n_terms == e->n_terms;
    for (uint32_t i = 0; same && i < e->n_terms; i++)
        same = dp_terms_same(&s->terms[i], &e->terms[i]);
    if (!same)
        audit_find(&c->node->findings, e->seq, WHY_TERMS,
                   "APPROVE_PLAN with other terms than entry %" PRIu64 " of the ledger of %s has for this plan", s->seq,
                   name_of(s));
}

static void check_reserve(together *c, const dp_entry *e)
{
    audit_findings *list = &c->node->findings;
    const dp_debit *d = dp_replay_debit(c->node->replay, e->debit);
    if (d && d->is_restored)
        return; /* stands for a lost one: nobody knows its model any more */
    const dp_terms terms = {.steps = e->steps,
                            .clip_units = e->clip_units,
                            .coordinates = e->coordinates,
                            .noise_variance = e->noise_variance,
                            .rate = e->rate};
    const seen *s = earlier(c, e, BY_ROUND, &terms, 1);
    if (!s)
        return;
    if (strcmp(s->plan_hash, e->plan_hash) != 0) {
        audit_find(list, e->seq, WHY_PLAN,
                   "RESERVE of round %u under another plan than entry %" PRIu64
                   " of the ledger of %s: %.12s..., not %.12s...",
                   e->round, s->seq, name_of(s), e->plan_hash, s->plan_hash);
        return;
    }
    if (!dp_terms_same(&s->terms[0], &terms))
        audit_find(list, e->seq, WHY_TERMS,
                   "RESERVE of round %u with other terms than entry %" PRIu64
                   " of the ledger of %s, under the same plan",
                   e->round, s->seq, name_of(s));
    if (strcmp(s->model_hash, e->model_hash) != 0)
        audit_find(list, e->seq, WHY_MODEL,
                   "RESERVE of round %u with another model than entry %" PRIu64 " of the ledger of %s", e->round,
                   s->seq, name_of(s));
    if (strcmp(s->announce_hash, e->announce_hash) == 0 && s->cohort != e->cohort)
        audit_find(list, e->seq, WHY_COHORT,
                   "RESERVE of round %u in a cohort of %u, entry %" PRIu64
                   " of the ledger of %s has %u under the same announce",
                   e->round, e->cohort, s->seq, name_of(s), s->cohort);
}

static void look(void *context, const dp_entry *e)
{
    if (e->kind == DP_APPROVE_PLAN)
        check_approval(context, e);
    else
        check_reserve(context, e);
}

fl_code audit_check_together(audit_evidence *const *nodes, size_t n, fl_err *err)
{
    together c = {0};
    fl_code code = FL_OK;
    for (size_t i = 0; i < n && code == FL_OK; i++) {
        c.node = nodes[i];
        code = audit_evidence_each(c.node, AUDIT_KIND(APPROVE_PLAN) | AUDIT_KIND(RESERVE), NULL, look, &c, err);
    }
    if (code == FL_OK && c.failed)
        code = fl_fail(err, FL_EENV, "ledgers: no memory left");
    free(c.list);
    dp_map_fini(&c.names);
    return code;
}
