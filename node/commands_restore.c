/* `restore`: asks the coordinator what it holds of this ledger, and charges what is missing (restore.h). */
#include "crypto/cert.h"
#include "crypto/csprng.h"
#include "node/commands_parts.h"
#include "node/restore.h"
#include "privacy/cosign.h"
#include "proto/net/client.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS 40000

/* One question after the other, each over a connection of its own. */
typedef struct asking {
    node_store *store;
    char ca[FL_PEM_MAX], cert[FL_PEM_MAX], key[FL_PEM_MAX];
    uint64_t sequence;
    fl_csprng random;
    wire_decoder decoder;
} asking;

static fl_code ask(asking *a, wire_message *m, wire_message *reply, fl_err *err)
{
    const node_store *s = a->store;
    const wire_client_config config = {.address = s->address, .ca_pem = a->ca, .cert_pem = a->cert, .key_pem = a->key};
    fl_buf bytes, answer;
    memcpy(m->sender, s->name, sizeof m->sender);
    m->request_id = fl_csprng_u64(&a->random);
    m->sequence = a->sequence++;
    fl_buf_init(&bytes, WIRE_ENVELOPE_MAX);
    fl_buf_init(&answer, WIRE_ENVELOPE_MAX);
    fl_code rc = wire_pack(&bytes, m, &s->key, err);
    if (rc == FL_OK)
        rc = wire_client_call(&config, bytes.bytes, bytes.size, &answer, ASK_MS, err);
    if (rc == FL_OK)
        rc = wire_unpack(reply, &a->decoder, answer.bytes, answer.size, err);
    if (rc == FL_OK)
        rc = wire_verify(&a->decoder, s->coordinator_key, err);
    if (rc == FL_OK)
        rc = wire_check_reply(m, reply, s->coordinator, err);
    fl_buf_fini(&bytes);
    fl_buf_fini(&answer);
    return rc ? fl_fail_in(err, "restore") : FL_OK;
}

static fl_code refused(const wire_message *reply, fl_err *err)
{
    return fl_fail(err, FL_EREFUSED, "restore: the coordinator answers: %s", reply->u.error.text);
}

/* The head it holds, with our signature and its own. */
static fl_code take_head(node_witness *w, const asking *a, const wire_witnessed *said, fl_err *err)
{
    const node_store *s = a->store;
    w->sequence = said->sequence;
    if (said->note[0] == 0)
        return FL_OK;
    fl_code rc = FL_EREFUSED;
    for (size_t i = led_n_keys(s->ledger); i-- > 0 && rc != FL_OK;) /* it may be older than a KEY_ROTATE */
        rc = dp_checkpoint_verify_cosigned(said->note, strlen(said->note), led_key(s->ledger, i), s->coordinator_vkey,
                                           &w->size, &w->root, err);
    return rc ? fl_fail_in(err, "restore: the head that the coordinator holds") : FL_OK;
}

static fl_code take_known(node_witness *w, const wire_witnessed *said, fl_err *err)
{
    if (said->total > NODE_KNOWN_MAX)
        return fl_fail(err, FL_EFORMAT, "restore: the coordinator lists %u debits, at most %d are taken", said->total,
                       NODE_KNOWN_MAX);
    if (said->n_known == 0)
        return FL_OK;
    wire_known *more = realloc(w->known, (w->n_known + said->n_known) * sizeof *more);
    if (!more)
        return fl_fail(err, FL_EENV, "restore: out of memory");
    memcpy(more + w->n_known, said->known, said->n_known * sizeof *more);
    w->known = more;
    w->n_known += said->n_known;
    return FL_OK;
}

static fl_code ask_witness(asking *a, node_witness *w, fl_err *err)
{
    uint32_t total;
    do {
        wire_message m = {.kind = WIRE_WITNESS, .u.witness = {.skip = w->n_known}}, r;
        FL_TRY(ask(a, &m, &r, err));
        if (r.kind == WIRE_ERROR)
            return refused(&r, err);
        total = r.u.witnessed.total;
        if (w->n_known == 0)
            FL_TRY(take_head(w, a, &r.u.witnessed, err));
        const uint32_t before = w->n_known;
        FL_TRY(take_known(w, &r.u.witnessed, err));
        if (w->n_known == before)
            break;
    } while (w->n_known < total);
    return w->n_known == total ? FL_OK : fl_fail(err, FL_EFORMAT, "restore: the coordinator's list of debits changes");
}

/* Plans that arrived after the copy was made: their terms are what is charged. */
static fl_code fetch_plans(asking *a, node_state *state, fl_err *err)
{
    while (state->n_plans < NODE_MAX_PLANS) {
        wire_message m = {.kind = WIRE_POLL, .u.poll = {.n_plans_known = state->n_plans}}, r;
        const uint32_t i = state->n_plans;
        m.u.poll.ledger_size = state->ledger_size;
        FL_TRY(ask(a, &m, &r, err));
        if (r.kind != WIRE_PLAN || r.u.plan.index != i)
            return FL_OK;
        fl_err unreadable;
        if (node_plan_read(&state->plans[i], r.study, r.u.plan.json, r.u.plan.n_bytes, &unreadable) == FL_EENV)
            return fl_fail(err, FL_EENV, "%s", unreadable.text);
        FL_TRY(fl_db_begin(a->store->db, err));
        state->n_plans++;
        fl_code rc = node_plan_put(a->store, state, i, err);
        if (rc == FL_OK)
            rc = node_plan_keep(a->store, i, r.u.plan.json, r.u.plan.n_bytes, err);
        if (rc == FL_OK)
            rc = fl_db_commit(a->store->db, err);
        if (rc) {
            fl_db_rollback(a->store->db);
            state->n_plans--;
            return rc;
        }
    }
    return FL_OK;
}

/* This start of ours comes after all that the coordinator has seen, also when what follows fails. */
static fl_code count_start(asking *a, node_state *state, const node_witness *w, fl_err *err)
{
    char boot[32];
    if (state->boot < w->sequence >> 32)
        state->boot = w->sequence >> 32;
    state->boot++;
    a->sequence = state->boot << 32 | 1;
    snprintf(boot, sizeof boot, "%" PRIu64, state->boot);
    return node_meta_put(a->store, "boot", boot, err);
}

static void tell(FILE *out, const node_store *s, const node_witness *w, const node_restored *r)
{
    if (!r->was_needed) {
        fprintf(out, "%s: the ledger has the head that the coordinator holds (%" PRIu64 " lines): nothing is missing\n",
                s->name, w->size);
        return;
    }
    fprintf(out,
            "%s: the coordinator holds a head of %" PRIu64 " lines that this ledger has not; RESTORE is written\n"
            "charged: %u debit(s) that were received, %u that may have been lost; epsilon %.3f, before %.3f\n"
            "next: see to it that no other copy of this folder runs, then `cordon-node run`\n",
            s->name, w->size, r->received, r->guessed, r->epsilon_after, r->epsilon_before);
}

static fl_code restore(fl_cli *cli, node_session *s, asking *a, node_witness *w, fl_err *err)
{
    node_restored r;
    if (s->is_live)
        return fl_fail(err, FL_EBUSY, "restore: the node runs: stop it first");
    if (!s->store->enrolled)
        return fl_fail(err, FL_EREFUSED, "restore: not enrolled: no witness holds a head of this ledger");
    FL_TRY(fl_pem_read(a->ca, s->store->dir, "ca.crt", err));
    FL_TRY(fl_pem_read(a->cert, s->store->dir, "tls.crt", err));
    FL_TRY(fl_pem_read(a->key, s->store->dir, "tls.key", err));
    FL_TRY(ask_witness(a, w, err));
    FL_TRY(count_start(a, s->state, w, err));
    FL_TRY(fetch_plans(a, s->state, err));
    FL_TRY(node_restore(&r, s->store, s->state, w, err));
    tell(cli->out, s->store, w, &r);
    return FL_OK;
}

int node_restore_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    node_witness w = {0};
    asking *a = calloc(1, sizeof *a);
    fl_code rc = FL_OK;
    if (!a)
        rc = fl_fail(&err, FL_EENV, "restore: out of memory");
    else {
        a->store = s->store;
        fl_csprng_init(&a->random);
        rc = restore(cli, s, a, &w, &err);
        fl_csprng_fini(&a->random);
        wire_decoder_fini(&a->decoder);
        fl_wipe(a->key, sizeof a->key);
    }
    free(a);
    free(w.known);
    return rc ? fl_cli_fail(cli, &err) : 0;
}
