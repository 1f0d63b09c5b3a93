/* Rosters, rounds and models: what the coordinator's ledger says of its own members, and of one node. */
#include "audit/evidence.h"
#include "base/grow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_MODEL[] = "the hospital trained on something that the coordinator's ledger does not know";
static const char WHY_ROSTER[] = "updates from somebody who was not invited could be in the model";
static const char WHY_WEIGHT[] = "a hospital would count for more or less than it declared";
static const char WHY_HEAD[] = "the ledger was rewritten or cut off after others had seen it";
static const char WHY_UNSEEN[] = "the update went out before its debit was witnessed";
static const char WHY_TERMS[] = "patients would be charged by other terms than the study's";
static const char WHY_KEY[] = "somebody else could have written this ledger";

enum { BY_ROSTER, BY_MEMBER, BY_ANNOUNCE, BY_PLAN }; /* kinds of names in a dp_map */

static const dp_member *find_member(const dp_member *members, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(members[i].node, name) == 0)
            return &members[i];
    }
    return NULL;
}

/* An array that grows by one; NULL: no memory, and *failed is set. */
static void *one_more(void **items, size_t *n, size_t *capacity, size_t size, bool *failed)
{
    if (!fl_grow(items, capacity, *n, size)) {
        *failed = true;
        return NULL;
    }
    return memset((char *)*items + (*n)++ * size, 0, size);
}

/* --- the coordinator's ledger by itself --- */

typedef struct roster {
    uint32_t n;
    dp_member *members;
} roster;

typedef struct seen_head {
    uint64_t size;
    char root[DP_HEX_SIZE];
} seen_head;

typedef struct member_check {
    audit_evidence *coordinator;
    dp_map names; /* study: position in rosters; member: position in heads */
    void *rosters, *heads;
    size_t n_rosters, cap_rosters, n_heads, cap_heads;
    bool failed;
} member_check;

static void keep_roster(member_check *c, const dp_entry *e)
{
    uint32_t at = dp_map_find(&c->names, BY_ROSTER, e->study, "", 0);
    roster *r = at != DP_MAP_NONE ? (roster *)c->rosters + at
                                  : one_more(&c->rosters, &c->n_rosters, &c->cap_rosters, sizeof *r, &c->failed);
    dp_member *copy = malloc(e->n_members * sizeof *copy);
    if (!r || !copy ||
        (at == DP_MAP_NONE && !dp_map_put(&c->names, BY_ROSTER, e->study, "", 0, (uint32_t)c->n_rosters - 1))) {
        c->failed = true;
        free(copy);
        return;
    }
    memcpy(copy, e->members, e->n_members * sizeof *copy);
    free(r->members);
    *r = (roster){.n = e->n_members, .members = copy};
}

static const roster *roster_of(const member_check *c, const char *study)
{
    uint32_t at = dp_map_find(&c->names, BY_ROSTER, study, "", 0);
    return at == DP_MAP_NONE ? NULL : (const roster *)c->rosters + at;
}

/* A head of size 0 says that none is known. */
static void check_seen_head(member_check *c, const dp_entry *e, const dp_member *m)
{
    uint32_t at = dp_map_find(&c->names, BY_MEMBER, m->node, "", 0);
    seen_head *head = at != DP_MAP_NONE ? (seen_head *)c->heads + at
                                        : one_more(&c->heads, &c->n_heads, &c->cap_heads, sizeof *head, &c->failed);
    if (!head || (at == DP_MAP_NONE && !dp_map_put(&c->names, BY_MEMBER, m->node, "", 0, (uint32_t)c->n_heads - 1))) {
        c->failed = true;
        return;
    }
    if (m->n < head->size)
        audit_find(&c->coordinator->findings, e->seq, WHY_HEAD,
                   "ROUND_OPEN has a head of %s of %" PRIu64 " entries, after one of %" PRIu64, m->node, m->n,
                   head->size);
    else if (m->n == head->size && m->n > 0 && strcmp(m->hash, head->root) != 0)
        audit_find(&c->coordinator->findings, e->seq, WHY_HEAD,
                   "ROUND_OPEN has another head of %s of the same %" PRIu64 " entries than before", m->node, m->n);
    head->size = m->n;
    memcpy(head->root, m->hash, sizeof head->root);
}

static void check_roster(void *context, const dp_entry *e)
{
    member_check *c = context;
    audit_findings *list = &c->coordinator->findings;
    if (e->kind == DP_ROSTER) {
        keep_roster(c, e);
        return;
    }
    if (e->kind == DP_RECEIVED) { /* the programs that wrote version 1 did not insist */
        if (e->v > 1 && !e->checkpoint[0])
            audit_find(list, e->seq, WHY_UNSEEN, "RECEIVED from %s without a head of its ledger", e->member);
        return;
    }
    bool is_open = e->kind == DP_ROUND_OPEN;
    for (uint32_t i = 0; is_open && i < e->n_members; i++)
        check_seen_head(c, e, &e->members[i]);
    const roster *r = roster_of(c, e->study);
    if (!r)
        return; /* the replay says so */
    if (is_open && e->n_members != r->n)
        audit_find(list, e->seq, WHY_ROSTER, "ROUND_OPEN with %u members, the ROSTER has %u", e->n_members, r->n);
    for (uint32_t i = 0; i < e->n_members; i++) {
        const dp_member *m = &e->members[i], *declared = find_member(r->members, r->n, m->node);
        if (!declared)
            audit_find(list, e->seq, WHY_ROSTER, "%s with %s, who is not in the ROSTER", dp_kind_name(e->kind),
                       m->node);
        else if (!is_open && m->n != declared->n)
            audit_find(list, e->seq, WHY_WEIGHT,
                       "AGGREGATE weighs %s with %" PRIu64 " patients, the ROSTER says %" PRIu64, m->node, m->n,
                       declared->n);
    }
}

fl_code audit_check_coordinator(audit_evidence *coordinator, fl_err *err)
{
    member_check c = {.coordinator = coordinator};
    fl_code code = audit_evidence_each(
        coordinator, AUDIT_KIND(ROSTER) | AUDIT_KIND(ROUND_OPEN) | AUDIT_KIND(RECEIVED) | AUDIT_KIND(AGGREGATE), NULL,
        check_roster, &c, err);
    if (code == FL_OK && c.failed)
        code = fl_fail(err, FL_EENV, "%s: no memory left", coordinator->path);
    for (size_t i = 0; i < c.n_rosters; i++)
        free(((roster *)c.rosters)[i].members);
    free(c.rosters);
    free(c.heads);
    dp_map_fini(&c.names);
    return code;
}

/* --- one node in the coordinator's rounds --- */

/* A ROUND_OPEN with the node in it or not. */
typedef struct open_round {
    char model_hash[DP_HEX_SIZE], plan_hash[DP_HEX_SIZE];
    uint32_t round, n_members;
    uint64_t declared; /* of the node in the ROSTER at that time; 0: not in it */
    bool is_member;
} open_round;

typedef struct round_check {
    audit_evidence *node;
    const char *name, *hub;
    /* (study, announce hash): position in opens; study: declared patients of the node, by the ROSTER; (study, plan hash):
     * position in plans */
    dp_map names;
    void *opens, *plans;
    size_t n_opens, cap_opens, n_plans, cap_plans;
    bool failed;
} round_check;

/* Is this one of the node's keys? The list is as long as its owner made it, so the hash in a vkey leads there. */
static bool is_key(const audit_evidence *node, const char *hex)
{
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX], hash[AUDIT_KEY_HASH];
    if (!fl_hex_decode(public_key, sizeof public_key, hex))
        return false;
    dp_origin(origin, dp_replay_state(node->replay)->node);
    dp_vkey_text(vkey, origin, public_key);
    audit_key_hash(hash, vkey);
    const char *own = audit_key_named(node, hash);
    return own && strcmp(own, vkey) == 0;
}

static void take_roster(round_check *c, const dp_entry *e)
{
    const dp_member *m = find_member(e->members, e->n_members, c->name);
    uint32_t declared = m && m->n < UINT32_MAX - 1 ? (uint32_t)m->n : 0;
    c->failed |= !dp_map_put(&c->names, BY_ROSTER, e->study, "", 0, declared);
    if (m && !is_key(c->node, m->hash))
        audit_find_in(&c->node->findings, c->hub, e->seq, WHY_KEY,
                      "the ROSTER names a key of %s that is not this ledger's", c->name);
}

static void take_round(round_check *c, const dp_entry *e)
{
    const dp_member *m = find_member(e->members, e->n_members, c->name);
    open_round *o = one_more(&c->opens, &c->n_opens, &c->cap_opens, sizeof *o, &c->failed);
    if (!o)
        return;
    memcpy(o->model_hash, e->model_hash, sizeof o->model_hash);
    memcpy(o->plan_hash, e->plan_hash, sizeof o->plan_hash);
    o->round = e->round;
    o->n_members = e->n_members;
    o->is_member = m != NULL;
    uint32_t declared = dp_map_find(&c->names, BY_ROSTER, e->study, "", 0);
    o->declared = declared == DP_MAP_NONE ? 0 : declared;
    c->failed |= !dp_map_put(&c->names, BY_ANNOUNCE, e->study, e->announce_hash, 0, (uint32_t)c->n_opens - 1);
    fl_hash root;
    if (!m || m->n == 0 || !dp_hash_from_text(&root, m->hash) || audit_is_head(c->node, m->n, &root) ||
        audit_is_lost(c->node, m->n, &root))
        return;
    if (m->n > c->node->n_lines)
        audit_find_in(&c->node->findings, c->hub, e->seq, WHY_HEAD,
                      "the coordinator's ROUND_OPEN saw a head of %" PRIu64 " entries, this ledger has %" PRIu64, m->n,
                      c->node->n_lines);
    else
        audit_find_in(&c->node->findings, c->hub, e->seq, WHY_HEAD,
                      "the coordinator's ROUND_OPEN saw other lines up to entry %" PRIu64, m->n);
}

/* What the coordinator says of a plan's terms. Before version 3 it said nothing. */
typedef struct study_terms {
    uint32_t n;
    dp_terms terms[DP_TERMS_MAX];
} study_terms;

static void take_study(round_check *c, const dp_entry *e)
{
    study_terms *s = e->n_terms > 0 ? one_more(&c->plans, &c->n_plans, &c->cap_plans, sizeof *s, &c->failed) : NULL;
    if (!s)
        return;
    s->n = e->n_terms;
    memcpy(s->terms, e->terms, sizeof s->terms);
    c->failed |= !dp_map_put(&c->names, BY_PLAN, e->study, e->plan_hash, 0, (uint32_t)c->n_plans - 1);
}

static void take_open(void *context, const dp_entry *e)
{
    if (e->kind == DP_STUDY)
        take_study(context, e);
    else if (e->kind == DP_ROSTER)
        take_roster(context, e);
    else
        take_round(context, e);
}

static void check_approval(void *context, const dp_entry *e)
{
    round_check *c = context;
    const uint32_t at = dp_map_find(&c->names, BY_PLAN, e->study, e->plan_hash, 0);
    if (at == DP_MAP_NONE || e->n_terms == 0)
        return;
    const study_terms *s = (const study_terms *)c->plans + at;
    bool same = s->n == e->n_terms;
    for (uint32_t i = 0; same && i < s->n; i++)
        same = dp_terms_same(&s->terms[i], &e->terms[i]);
    if (!same)
        audit_find(&c->node->findings, e->seq, WHY_TERMS,
                   "APPROVE_PLAN with other terms than the coordinator's STUDY has for this plan");
}

static void check_reserve(void *context, const dp_entry *e)
{
    round_check *c = context;
    audit_findings *list = &c->node->findings;
    uint32_t at = dp_map_find(&c->names, BY_ANNOUNCE, e->study, e->announce_hash, 0);
    const dp_debit *d = dp_replay_debit(c->node->replay, e->debit);
    if (d && d->is_restored)
        return; /* what a RESTORE charged was never trained here; its terms are the approved plan's */
    if (at == DP_MAP_NONE) {
        audit_find(list, e->seq, WHY_MODEL, "RESERVE of round %u under an announce that the coordinator never made",
                   e->round);
        return;
    }
    const open_round *o = (const open_round *)c->opens + at;
    if (o->round != e->round || strcmp(o->plan_hash, e->plan_hash) != 0)
        audit_find(list, e->seq, WHY_MODEL, "RESERVE of another round or plan than the coordinator's ROUND_OPEN");
    if (strcmp(o->model_hash, e->model_hash) != 0)
        audit_find(list, e->seq, WHY_MODEL, "RESERVE with another model than the coordinator's ROUND_OPEN of round %u",
                   e->round);
    if (!o->is_member)
        audit_find(list, e->seq, WHY_ROSTER, "RESERVE of round %u, which %s was not in", e->round, c->name);
    if (o->n_members != e->cohort)
        audit_find(list, e->seq, WHY_MODEL, "RESERVE in a cohort of %u, the coordinator's round has %u", e->cohort,
                   o->n_members);
    if (o->is_member && o->declared != e->declared_patients)
        audit_find(list, e->seq, WHY_WEIGHT,
                   "RESERVE with %u declared patients, the coordinator's ROSTER says %" PRIu64, e->declared_patients,
                   o->declared);
}

static void check_length(void *context, const dp_entry *e)
{
    round_check *c = context;
    const dp_debit *d = dp_replay_debit(c->node->replay, e->debit);
    if (d && d->update_hash[0] && d->bytes != e->bytes)
        audit_find_in(&c->node->findings, c->hub, e->seq, "the two ledgers speak of different bytes",
                      "the coordinator RECEIVED %" PRIu64 " bytes of debit %s, RELEASE says %" PRIu64, e->bytes,
                      e->debit, d->bytes);
}

fl_code audit_check_rounds(audit_evidence *node, const audit_evidence *coordinator, fl_err *err)
{
    round_check c = {
        .node = node, .name = dp_replay_state(node->replay)->node, .hub = dp_replay_state(coordinator->replay)->node};
    fl_code code = audit_evidence_each(coordinator, AUDIT_KIND(STUDY) | AUDIT_KIND(ROSTER) | AUDIT_KIND(ROUND_OPEN),
                                       NULL, take_open, &c, err);
    if (code == FL_OK)
        code = audit_evidence_each(node, AUDIT_KIND(APPROVE_PLAN), NULL, check_approval, &c, err);
    if (code == FL_OK)
        code = audit_evidence_each(node, AUDIT_KIND(RESERVE), NULL, check_reserve, &c, err);
    if (code == FL_OK)
        code = audit_evidence_each(coordinator, AUDIT_KIND(RECEIVED), c.name, check_length, &c, err);
    if (code == FL_OK && c.failed)
        code = fl_fail(err, FL_EENV, "%s: no memory left", node->path);
    free(c.opens);
    free(c.plans);
    dp_map_fini(&c.names);
    return code;
}
