#include "coordinator/enrol.h"

#include "base/clock.h"
#include "base/grow.h"
#include "coordinator/query.h"
#include "crypto/csprng.h"
#include "proto/msg/envelope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_SLACK_S 300 /* a hospital's clock may be a little behind */

static fl_code site_exists(coord_store *s, bool *exists, const char *name, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "SELECT 1 FROM site WHERE name = ?", err));
    fl_bind_text(&q, 1, name);
    *exists = fl_query_row(&q);
    return fl_query_close(&q, err);
}

/* ---- invite ----------------------------------------------------------------------------------------------------- */

typedef struct issue {
    char ca[FL_PEM_MAX], ca_key[FL_PEM_MAX], request[FL_PEM_MAX];
    wire_invitation invitation;
} issue;

static fl_code make_invitation(coord_store *s, issue *w, const char *hospital, int64_t now_s, int64_t valid_s,
                               fl_err *err)
{
    wire_invitation *v = &w->invitation;
    FL_TRY(coord_store_pem(s, w->ca, "ca.crt", err));
    FL_TRY(coord_store_pem(s, w->ca_key, "ca.key", err));
    FL_TRY(fl_cert_key_make(v->key_pem, err));
    FL_TRY(fl_cert_request_make(w->request, v->key_pem, hospital, err));
    FL_TRY(fl_cert_issue(v->cert_pem, w->ca, w->ca_key, w->request, hospital, FL_CERT_ENROL, now_s - CLOCK_SLACK_S,
                         valid_s + CLOCK_SLACK_S, err));
    memcpy(v->ca_pem, w->ca, sizeof v->ca_pem);
    snprintf(v->name, sizeof v->name, "%s", hospital);
    snprintf(v->address, sizeof v->address, strchr(s->host, ':') ? "[%s]:%d" : "%s:%d", s->host, (int)s->port);
    v->expires_s = now_s + valid_s;
    return FL_OK;
}

static fl_code keep_invitation(coord_store *s, const wire_invitation *v, fl_err *err)
{
    fl_cert_info info;
    fl_query q;
    FL_TRY(fl_cert_read(&info, v->cert_pem, err));
    FL_TRY(fl_query_open(&q, s->db, "INSERT INTO invitation(spki, hospital, expires) VALUES(?, ?, ?)", err));
    coord_bind_hash(&q, 1, &info.spki);
    fl_bind_text(&q, 2, v->name);
    fl_bind_int(&q, 3, v->expires_s);
    return fl_query_run(&q, err);
}

static fl_code check_name(coord_store *s, const char *hospital, bool renew, fl_err *err)
{
    bool exists;
    coord_site_row row;
    if (!wire_name_ok(hospital))
        return fl_fail(err, FL_EFORMAT, "%.80s: not a name: 1 to 63 of A-Z a-z 0-9 . _ -", hospital);
    if (strcmp(hospital, s->name) == 0)
        return fl_fail(err, FL_EREFUSED, "%s: is the coordinator's own name: take another", hospital);
    FL_TRY(site_exists(s, &exists, hospital, err));
    if (exists && !renew)
        return fl_fail(err, FL_EREFUSED,
                       "%s: a hospital of this name is enrolled already: take another name, or --renew its certificate",
                       hospital);
    return renew ? coord_site_get(s, &row, hospital, err) : FL_OK;
}

fl_code coord_invite(coord_store *s, fl_buf *line, const char *hospital, bool renew, int64_t now_s, int64_t valid_s,
                     int64_t *expires_s, fl_err *err)
{
    FL_TRY(check_name(s, hospital, renew, err));
    issue *w = calloc(1, sizeof *w);
    if (!w)
        return fl_fail(err, FL_EENV, "invitation: no memory left");
    fl_code rc = make_invitation(s, w, hospital, now_s, valid_s, err);
    if (rc == FL_OK && (rc = wire_invitation_write(line, &w->invitation, err)) == FL_OK &&
        (rc = fl_buf_check(line, "invitation", err)) == FL_OK)
        rc = keep_invitation(s, &w->invitation, err);
    *expires_s = w->invitation.expires_s;
    wire_invitation_fini(&w->invitation);
    fl_wipe(w, sizeof *w);
    free(w);
    return rc;
}

/* ---- enrol ------------------------------------------------------------------------------------------------------ */

typedef struct invitation_row {
    bool is_there, is_used, same_key, same_request;
    char hospital[WIRE_NAME_MAX];
    int64_t expires_s;
    char certificate[FL_PEM_MAX];
} invitation_row;

typedef struct enrolment {
    wire_enrol request;
    wire_enrolled reply;
    fl_hash request_hash;
    invitation_row row;
    bool is_renewal; /* the name is enrolled, with this very identity key */
    char ca[FL_PEM_MAX], ca_key[FL_PEM_MAX];
} enrolment;

static fl_code read_row(coord_store *s, enrolment *w, const wire_peer *peer, fl_err *err)
{
    fl_query q;
    size_t n_key, n_request;
    invitation_row *row = &w->row;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT hospital, expires, used, public_key, request, certificate FROM invitation"
                         " WHERE spki = ?",
                         err));
    coord_bind_hash(&q, 1, &peer->spki);
    if (fl_query_row(&q)) {
        row->is_there = true;
        snprintf(row->hospital, sizeof row->hospital, "%s", fl_column_text(&q, 0));
        row->expires_s = fl_column_int(&q, 1);
        row->is_used = fl_column_int(&q, 2) != 0;
        const void *key = fl_column_blob(&q, 3, &n_key);
        row->same_key = n_key == FL_PUBLIC_KEY_SIZE && memcmp(key, w->request.public_key, n_key) == 0;
        const void *request = fl_column_blob(&q, 4, &n_request);
        row->same_request = n_request == FL_HASH_SIZE && memcmp(request, w->request_hash.bytes, n_request) == 0;
        snprintf(row->certificate, sizeof row->certificate, "%s", fl_column_text(&q, 5));
    }
    return fl_query_close(&q, err);
}

static void refuse(enrolment *w, const char *why)
{
    w->reply.refused = true;
    snprintf(w->reply.text, sizeof w->reply.text, "%.*s", WIRE_TEXT_MAX - 1, why);
}

/* Why not, in the order in which a person would ask; NULL: nothing is wrong. */
static const char *objection(const coord_store *s, const enrolment *w, const wire_peer *peer, bool name_taken,
                             int64_t now_s)
{
    const invitation_row *row = &w->row;
    char origin[DP_ORIGIN_MAX], vkey[DP_VKEY_MAX];
    dp_origin(origin, w->request.name);
    dp_vkey_text(vkey, origin, w->request.public_key);
    if (!peer->is_enrolment || !row->is_there)
        return "this invitation is not known here: ask for a new one";
    if (strcmp(w->request.name, peer->name) != 0 || strcmp(w->request.name, row->hospital) != 0)
        return "the invitation is for a hospital of another name";
    if (strcmp(w->request.name, s->name) == 0)
        return "this is the coordinator's own name";
    if (strcmp(w->request.vkey, vkey) != 0)
        return "the ledger's key does not belong to this name and identity";
    if (row->is_used && !row->same_key)
        return "this invitation was used already: ask for a new one";
    if (row->is_used && row->same_request)
        return NULL;
    if (now_s > row->expires_s)
        return "this invitation has expired: ask for a new one";
    if (name_taken && !row->is_used && !w->is_renewal)
        return "a hospital of this name is enrolled already: a second node needs a name of its own";
    return NULL;
}

static fl_code issue_certificate(coord_store *s, enrolment *w, fl_hash *spki, int64_t now_s, fl_err *err)
{
    fl_cert_info info;
    FL_TRY(coord_store_pem(s, w->ca, "ca.crt", err));
    FL_TRY(coord_store_pem(s, w->ca_key, "ca.key", err));
    FL_TRY(fl_cert_issue(w->reply.cert_pem, w->ca, w->ca_key, w->request.request_pem, w->request.name, FL_CERT_NODE,
                         now_s - CLOCK_SLACK_S, (int64_t)COORD_NODE_DAYS * 86400 + CLOCK_SLACK_S, err));
    FL_TRY(fl_cert_read(&info, w->reply.cert_pem, err));
    *spki = info.spki;
    return FL_OK;
}

static fl_code write_rows(coord_store *s, enrolment *w, const wire_peer *peer, const fl_hash *spki, int64_t now_s,
                          fl_err *err)
{
    fl_query q;
    if (!w->row.is_used && !w->is_renewal) {
        coord_site_row site = {.spki = *spki};
        snprintf(site.name, sizeof site.name, "%s", w->request.name);
        snprintf(site.vkey, sizeof site.vkey, "%.*s", DP_VKEY_MAX - 1, w->request.vkey);
        memcpy(site.public_key, w->request.public_key, sizeof site.public_key);
        FL_TRY(coord_site_add(s, &site, err));
    } else {
        FL_TRY(fl_query_open(&q, s->db, "UPDATE site SET spki = ? WHERE name = ? AND public_key = ? AND revoked = 0",
                             err));
        coord_bind_hash(&q, 1, spki);
        fl_bind_text(&q, 2, w->request.name);
        fl_bind_blob(&q, 3, w->request.public_key, FL_PUBLIC_KEY_SIZE);
        FL_TRY(fl_query_run(&q, err));
        if (fl_db_changes(s->db) != 1)
            return fl_fail(err, FL_EREFUSED, "this hospital was revoked");
    }
    FL_TRY(fl_query_open(
        &q, s->db, "UPDATE invitation SET used = ?, public_key = ?, request = ?, certificate = ? WHERE spki = ?", err));
    fl_bind_int(&q, 1, now_s);
    fl_bind_blob(&q, 2, w->request.public_key, FL_PUBLIC_KEY_SIZE);
    coord_bind_hash(&q, 3, &w->request_hash);
    fl_bind_text(&q, 4, w->reply.cert_pem);
    coord_bind_hash(&q, 5, &peer->spki);
    return fl_query_run(&q, err);
}

/* Fills the reply. A refusal is no error. */
static fl_code decide(coord_store *s, enrolment *w, bool *is_new, const wire_peer *peer, int64_t now_s, fl_err *err)
{
    bool name_taken;
    fl_hash spki;
    coord_site_row site;
    FL_TRY(read_row(s, w, peer, err));
    FL_TRY(site_exists(s, &name_taken, w->request.name, err));
    if (name_taken) {
        FL_TRY(coord_site_get(s, &site, w->request.name, err));
        w->is_renewal = memcmp(site.public_key, w->request.public_key, sizeof site.public_key) == 0;
    }
    const char *why = objection(s, w, peer, name_taken, now_s);
    if (why) {
        refuse(w, why);
        return FL_OK;
    }
    if (w->row.is_used && w->row.same_request) {
        memcpy(w->reply.cert_pem, w->row.certificate, sizeof w->reply.cert_pem);
        return FL_OK;
    }
    fl_err e;
    fl_code rc = issue_certificate(s, w, &spki, now_s, &e);
    if (rc == FL_OK)
        rc = write_rows(s, w, peer, &spki, now_s, &e);
    if (rc == FL_EREFUSED || rc == FL_EFORMAT) { /* a bad certificate request, all names taken */
        w->reply.cert_pem[0] = 0;
        refuse(w, e.text);
        return FL_OK;
    }
    if (rc)
        return fl_fail(err, rc, "%s", e.text);
    *is_new = true;
    return FL_OK;
}

static fl_code enrol_in_transaction(coord_store *s, enrolment *w, bool *is_new, const wire_peer *peer, int64_t now_s,
                                    fl_err *err)
{
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = decide(s, w, is_new, peer, now_s, err);
    if (rc == FL_OK && *is_new)
        return fl_db_commit(s->db, err);
    fl_db_rollback(s->db);
    return rc;
}

fl_code coord_enrol(coord_store *s, fl_buf *reply, bool *is_new, const wire_peer *peer, const uint8_t *bytes, size_t n,
                    int64_t now_s, fl_err *err)
{
    *is_new = false;
    enrolment *w = calloc(1, sizeof *w);
    if (!w)
        return fl_fail(err, FL_EENV, "enrolment: no memory left");
    fl_code rc = wire_enrol_unpack(&w->request, bytes, n, err);
    if (rc == FL_OK) {
        w->request_hash = fl_sha256(w->request.request_pem, strlen(w->request.request_pem));
        snprintf(w->reply.name, sizeof w->reply.name, "%s", s->name);
        snprintf(w->reply.vkey, sizeof w->reply.vkey, "%s", led_vkey(s->ledger));
        rc = enrol_in_transaction(s, w, is_new, peer, now_s, err);
    }
    if (rc == FL_OK)
        rc = wire_enrolled_pack(reply, &w->reply, &s->key, err);
    if (rc)
        *is_new = false;
    fl_wipe(w, sizeof *w);
    free(w);
    return rc;
}

/* ---- revoke ----------------------------------------------------------------------------------------------------- */

static fl_code mark_revoked(coord_store *s, const char *hospital, fl_err *err)
{
    fl_query q;
    FL_TRY(fl_query_open(&q, s->db, "UPDATE site SET revoked = 1 WHERE name = ? AND revoked = 0", err));
    fl_bind_text(&q, 1, hospital);
    FL_TRY(fl_query_run(&q, err));
    if (fl_db_changes(s->db) != 1)
        return fl_fail(err, FL_EREFUSED, "%s: was revoked already", hospital);
    FL_TRY(fl_query_open(&q, s->db, "DELETE FROM invitation WHERE hospital = ?", err));
    fl_bind_text(&q, 1, hospital);
    FL_TRY(fl_query_run(&q, err));
    dp_entry *e = calloc(1, sizeof *e);
    if (!e)
        return fl_fail(err, FL_EENV, "revoke: no memory left");
    e->kind = DP_REVOKE;
    snprintf(e->member, sizeof e->member, "%s", hospital);
    strcpy(e->reason, "operator");
    fl_code rc = led_append(s->ledger, e, err);
    free(e);
    return rc;
}

fl_code coord_revoke(coord_store *s, fl_hash *spki, const char *hospital, fl_err *err)
{
    coord_site_row row;
    FL_TRY(coord_site_get(s, &row, hospital, err));
    *spki = row.spki;
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = mark_revoked(s, row.name, err);
    if (rc == FL_OK)
        rc = fl_db_commit(s->db, err);
    else
        fl_db_rollback(s->db);
    fl_err again;
    if (rc && led_reload(s->ledger, &again))
        return fl_fail(err, again.code, "%s", again.text);
    return rc;
}

/* ---- who may connect -------------------------------------------------------------------------------------------- */

fl_code coord_allowed(coord_store *s, coord_key **keys, size_t *n, int64_t now_s, fl_err *err)
{
    fl_query q;
    size_t capacity = 0;
    *keys = NULL;
    *n = 0;
    FL_TRY(fl_query_open(&q, s->db,
                         "SELECT spki, 0 FROM site WHERE revoked = 0 UNION ALL"
                         " SELECT spki, 1 FROM invitation WHERE expires >= ?",
                         err));
    fl_bind_int(&q, 1, now_s);
    bool no_memory = false;
    while (!no_memory && fl_query_row(&q)) {
        if ((no_memory = !fl_grow(keys, &capacity, *n, sizeof **keys)))
            break;
        coord_column_hash(&(*keys)[*n].spki, &q, 0);
        (*keys)[(*n)++].is_enrolment = fl_column_int(&q, 1) != 0;
    }
    fl_code rc = fl_query_close(&q, err);
    if (rc == FL_OK && no_memory)
        rc = fl_fail(err, FL_EENV, "allow-list: no memory left");
    if (rc) {
        free(*keys);
        *keys = NULL;
        *n = 0;
    }
    return rc;
}
