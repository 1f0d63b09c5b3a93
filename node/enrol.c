/* `enrol`: the node's keys are made here and stay here; what travels is a certificate request and two public keys. */
#include "node/commands_parts.h"

#include "base/clock.h"
#include "base/encode.h"
#include "crypto/cert.h"
#include "crypto/csprng.h" /* fl_wipe */
#include "proto/msg/enrol.h"
#include "proto/msg/envelope.h"
#include "proto/net/client.h"
#include <stdlib.h>
#include <string.h>

#define ENROL_TIMEOUT_MS 30000

typedef struct enrolment {
    wire_invitation invitation;
    wire_enrol request;
    wire_enrolled reply;
    char key_pem[FL_PEM_MAX];
} enrolment;

static fl_code read_stdin(fl_buf *out, fl_err *err)
{
    char bytes[4096];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0)
        fl_buf_add(out, bytes, n);
    fl_wipe(bytes, sizeof bytes);
    return ferror(stdin) ? fl_fail(err, FL_EENV, "invitation: standard input cannot be read") : FL_OK;
}

/* A line, a file that holds it, or - . */
static fl_code read_invitation(enrolment *e, const char *word, fl_err *err)
{
    fl_buf text;
    fl_code rc = FL_OK;
    fl_buf_init(&text, WIRE_INVITATION_MAX);
    if (strcmp(word, "-") == 0)
        rc = read_stdin(&text, err);
    else if (strncmp(word, "cordon1:", 8) == 0)
        fl_buf_add_text(&text, word);
    else
        rc = fl_file_read(&text, word, err);
    if (rc == FL_OK)
        rc = fl_buf_check(&text, "invitation", err);
    if (rc == FL_OK)
        rc = wire_invitation_parse(&e->invitation, fl_buf_text(&text), fl_clock_wall_s(), err);
    if (text.bytes)
        fl_wipe(text.bytes, text.size);
    fl_buf_fini(&text);
    return rc;
}

/* People type fingerprints with colons, spaces and in any case. */
static bool same_fingerprint(const fl_hash *fingerprint, const char *typed)
{
    char hex[2 * FL_HASH_SIZE + 1], plain[2 * FL_HASH_SIZE + 1] = "";
    size_t n = 0;
    if (strncasecmp(typed, "SHA256:", 7) == 0)
        typed += 7;
    for (; *typed; typed++) {
        if (*typed == ':' || *typed == ' ')
            continue;
        if (n == 2 * FL_HASH_SIZE)
            return false;
        plain[n++] = *typed >= 'A' && *typed <= 'F' ? (char)(*typed - 'A' + 'a') : *typed;
    }
    fl_hex_encode(hex, fingerprint->bytes, FL_HASH_SIZE);
    return strcmp(hex, plain) == 0;
}

static fl_code check_invitation(const enrolment *e, const node_store *s, const char *typed, fl_err *err)
{
    char hex[2 * FL_HASH_SIZE + 1];
    fl_hex_encode(hex, e->invitation.fingerprint.bytes, FL_HASH_SIZE);
    if (typed && !same_fingerprint(&e->invitation.fingerprint, typed))
        return fl_fail(
            err, FL_EREFUSED,
            "fingerprint: the invitation's is %s, not the one given: it is not from your consortium: ask them", hex);
    if (strcmp(e->invitation.name, s->name) != 0)
        return fl_fail(err, FL_EREFUSED, "invitation: is for %s, this node is %s", e->invitation.name, s->name);
    return FL_OK;
}

static fl_code ask(enrolment *e, const node_store *s, fl_err *err)
{
    fl_buf request, reply;
    const wire_client_config config = {.address = e->invitation.address,
                                       .ca_pem = e->invitation.ca_pem,
                                       .cert_pem = e->invitation.cert_pem,
                                       .key_pem = e->invitation.key_pem};
    FL_TRY(fl_cert_key_make(e->key_pem, err));
    FL_TRY(fl_cert_request_make(e->request.request_pem, e->key_pem, s->name, err));
    memcpy(e->request.name, s->name, sizeof e->request.name);
    snprintf(e->request.vkey, sizeof e->request.vkey, "%s", led_vkey(s->ledger));
    fl_buf_init(&request, WIRE_ENROL_MAX);
    fl_buf_init(&reply, WIRE_ENROL_MAX);
    fl_code rc = wire_enrol_pack(&request, &e->request, &s->key, err);
    if (rc == FL_OK)
        rc = wire_client_call(&config, request.bytes, request.size, &reply, ENROL_TIMEOUT_MS, err);
    if (rc == FL_OK)
        rc = wire_enrolled_unpack(&e->reply, reply.bytes, reply.size, err);
    fl_buf_fini(&request);
    fl_buf_fini(&reply);
    return rc;
}

static fl_code check_reply(const enrolment *e, const node_store *s, fl_err *err)
{
    fl_cert_info info;
    if (e->reply.refused)
        return fl_fail(err, FL_EREFUSED, "enrolment: refused by the coordinator: %s", e->reply.text);
    if (s->enrolled && memcmp(s->coordinator_key, e->reply.public_key, sizeof s->coordinator_key) != 0)
        return fl_fail(err, FL_EREFUSED, "enrolment: this node belongs to %s: another consortium needs another folder",
                       s->coordinator);
    if (fl_cert_check(e->reply.cert_pem, e->invitation.ca_pem, FL_CERT_NODE, fl_clock_wall_s(), err) ||
        fl_cert_read(&info, e->reply.cert_pem, err))
        return fl_fail_in(err, "enrolment: the certificate that came back");
    if (strcmp(info.name, s->name) != 0)
        return fl_fail(err, FL_EREFUSED, "enrolment: the certificate that came back is for another hospital");
    return FL_OK;
}

static fl_code enrol(fl_cli *cli, enrolment *e, node_store *s, fl_err *err)
{
    char hex[2 * FL_HASH_SIZE + 1];
    FL_TRY(read_invitation(e, fl_cli_value(cli, "invitation"), err));
    FL_TRY(check_invitation(e, s, fl_cli_value(cli, "fingerprint"), err));
    FL_TRY(ask(e, s, err));
    FL_TRY(check_reply(e, s, err));
    FL_TRY(node_store_enrolled(s, e->reply.name, e->invitation.address, e->reply.public_key, e->reply.vkey,
                               e->invitation.ca_pem, e->reply.cert_pem, e->key_pem, err));
    fl_hex_encode(hex, e->invitation.fingerprint.bytes, FL_HASH_SIZE);
    fprintf(cli->out, "%s: enrolled with %s at %s\nfingerprint %s: compare it with the consortium's%s\n", s->name,
            s->coordinator, s->address, hex, fl_cli_value(cli, "fingerprint") ? " (it agrees with the one given)" : "");
    return FL_OK;
}

int node_enrol_command(fl_cli *cli)
{
    fl_err err = {0};
    fl_lock lock = {0};
    node_store store;
    char path[FL_PATH_MAX];
    const char *dir = node_dir(cli);
    fl_code rc;
    enrolment *e = calloc(1, sizeof *e);
    if (!e)
        rc = fl_fail(&err, FL_EENV, "enrol: out of memory");
    else if (strlen(dir) + 64 >= FL_PATH_MAX)
        rc = fl_fail(&err, FL_EFORMAT, "--dir: is too long");
    else if (!fl_file_exists(fl_path(path, dir, "node.ini")))
        rc = fl_fail(&err, FL_ENOTFOUND, "%s: holds no node: make one with `cordon-node init`", dir);
    else if ((rc = fl_lock_take(&lock, dir, &err)) == FL_EBUSY)
        (void)fl_fail(&err, FL_EBUSY, "%s: the node runs: stop it, then enrol", dir);
    else if (rc == FL_OK && (rc = node_store_open(&store, dir, &err)) == FL_OK) {
        rc = enrol(cli, e, &store, &err);
        node_store_close(&store);
    }
    fl_lock_release(&lock);
    if (e) {
        wire_invitation_fini(&e->invitation);
        fl_wipe(e, sizeof *e);
    }
    free(e);
    return rc ? fl_cli_fail(cli, &err) : 0;
}
