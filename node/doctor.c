/* `doctor`: what is wrong with this machine, and what to do. Each check is one line. */
#include "node/commands_parts.h"

#include "base/clock.h"
#include "crypto/cert.h"
#include "crypto/csprng.h"
#include "imaging/image.h"
#include "proto/msg/enrol.h"
#include "proto/msg/envelope.h"
#include "proto/net/client.h"
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 20000
#define DISK_BAD        (100ull << 20)
#define DISK_LOW        (2ull << 30)
#define CERT_LOW_DAYS   30
#define OLDEST_NOW      1735689600 /* 2025-01-01: before it, the clock is surely wrong */

typedef struct checkup {
    fl_cli *cli;
    node_session *s;
    fl_json *list; /* NULL: lines for people */
    unsigned n_bad;
} checkup;

/* what: "ok", "warn", "bad" */
static void say(checkup *c, const char *what, const char *check, const char *format, ...) FL_PRINTF(4, 5);

static void say(checkup *c, const char *what, const char *check, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->n_bad += strcmp(what, "bad") == 0;
    if (!c->list) {
        fprintf(c->cli->out, "%-4s  %-12s %s\n", what, check, text);
        return;
    }
    fl_json *row = fl_json_object();
    fl_json_set_text(row, "check", check);
    fl_json_set_text(row, "result", what);
    fl_json_set_text(row, "text", text);
    fl_json_push(c->list, row);
}

static void check_rights(checkup *c)
{
    static const char *const secrets[] = {"identity.key", "pseudonym.key", "tls.key", "node.db", "policy.ini"};
    char path[FL_PATH_MAX];
    struct stat st;
    unsigned n_open = 0;
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        fl_path(path, c->s->store->dir, secrets[i]);
        if (stat(path, &st) != 0 || (st.st_mode & 077) == 0)
            continue;
        n_open++;
        say(c, "bad", "rights", "%s can be read by others: chmod 600 %s", path, path);
    }
    fl_err err = {0};
    if (fl_dir_check(c->s->store->dir, &err))
        say(c, "bad", "rights", "%s", err.text);
    else if (n_open == 0)
        say(c, "ok", "rights", "keys and database are the owner's alone");
}

static void check_disk(checkup *c)
{
    struct statvfs v;
    if (statvfs(c->s->store->dir, &v) != 0) {
        say(c, "bad", "disk", "%s: cannot be asked", c->s->store->dir);
        return;
    }
    unsigned long long free_bytes = (unsigned long long)v.f_bavail * v.f_frsize;
    const char *what = free_bytes < DISK_BAD ? "bad" : free_bytes < DISK_LOW ? "warn" : "ok";
    say(c, what, "disk", "%.1f GiB free%s", (double)free_bytes / (1 << 30),
        free_bytes < DISK_LOW ? ": make room, or no round can be taken" : "");
}

static void check_clock(checkup *c)
{
    char now[24];
    fl_clock_text(now, fl_clock_wall_s());
    if (fl_clock_wall_s() < OLDEST_NOW)
        say(c, "bad", "clock", "it is %s here: set the clock, for example with chrony", now);
    else
        say(c, "ok", "clock", "%s", now);
}

static void check_cpu(checkup *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    double gib = (double)pages * (double)size / (1 << 30);
    say(c, gib < 1.5 ? "warn" : "ok", "machine", "%ld cores, %.1f GiB of memory%s", cores, gib,
        gib < 1.5 ? ": larger models will not fit" : "");
}

static void check_decoder(checkup *c)
{
    fl_err err = {0};
    img_decoder *d;
    if (img_decoder_open(&d, NULL, c->s->store->pseudonym_key, &err)) {
        say(c, "bad", "decoder", "%s", err.text);
        return;
    }
    say(c, "ok", "decoder", "the sandboxed image decoder starts");
    img_decoder_close(d);
}

static void check_policy(checkup *c)
{
    fl_err err = {0};
    node_policy p;
    if (node_policy_load(&p, c->s->store->dir, &err))
        say(c, "bad", "policy", "%s", err.text);
    else if (p.declared_patients == 0)
        say(c, "warn", "policy", "declared_patients is not typed yet: no plan can be approved");
    else
        say(c, "ok", "policy", "epsilon %s at delta %s for life, %u declared patients", p.epsilon, p.delta,
            p.declared_patients);
}

static void check_certificate(checkup *c, const char *cert_pem, const char *ca_pem)
{
    fl_err err = {0};
    fl_cert_info info;
    if (fl_cert_check(cert_pem, ca_pem, FL_CERT_NODE, fl_clock_wall_s(), &err) || fl_cert_read(&info, cert_pem, &err)) {
        say(c, "bad", "certificate", "%s: ask the consortium for a new invitation, then `cordon-node enrol`", err.text);
        return;
    }
    long long days = (info.not_after_s - fl_clock_wall_s()) / 86400;
    say(c, days < CERT_LOW_DAYS ? "warn" : "ok", "certificate", "good for %lld days%s", days,
        days < CERT_LOW_DAYS ? ": ask the consortium for a new invitation" : "");
}

static bool check_name(checkup *c, const char *address)
{
    char host[256], port[8];
    uint16_t number;
    fl_err err = {0};
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
    if (wire_address_split(host, &number, address, &err)) {
        say(c, "bad", "name", "%s", err.text);
        return false;
    }
    snprintf(port, sizeof port, "%u", number);
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        say(c, "bad", "name", "%s: %s: check DNS, or the address with the consortium", host, gai_strerror(rc));
        return false;
    }
    freeaddrinfo(found);
    say(c, "ok", "name", "%s is known", host);
    return true;
}

/* A question of no consequence, so that the port, TLS, both certificates and our membership are tried at once. */
static fl_code poll(checkup *c, const wire_client_config *config, fl_err *err)
{
    node_store *s = c->s->store;
    fl_csprng r;
    fl_buf request, reply;
    char boot[32];
    wire_message m = {.kind = WIRE_POLL};
    FL_TRY(node_store_count_start(s, err));
    FL_TRY(node_meta_get(s, "boot", boot, sizeof boot, err));
    memcpy(m.sender, s->name, sizeof m.sender);
    m.sequence = strtoull(boot, NULL, 10) << 32;
    fl_csprng_init(&r);
    m.request_id = fl_csprng_u64(&r);
    fl_csprng_fini(&r);
    m.u.poll.n_plans_known = c->s->state->n_plans;
    m.u.poll.ledger_size = led_state(s->ledger)->n_entries;
    fl_buf_init(&request, WIRE_ENVELOPE_MAX);
    fl_buf_init(&reply, WIRE_ENVELOPE_MAX);
    fl_code rc = wire_pack(&request, &m, &s->key, err);
    if (rc == FL_OK)
        rc = wire_client_call(config, request.bytes, request.size, &reply, CALL_TIMEOUT_MS, err);
    if (rc == FL_OK) {
        wire_decoder d = {0};
        wire_message answer;
        rc = wire_unpack(&answer, &d, reply.bytes, reply.size, err);
        if (rc == FL_OK)
            rc = wire_verify(&d, s->coordinator_key, err);
        if (rc == FL_OK && answer.kind == WIRE_ERROR && !answer.u.error.retry)
            rc = fl_fail(err, FL_EREFUSED, "the coordinator says: %s", answer.u.error.text);
        wire_decoder_fini(&d);
    }
    fl_buf_fini(&request);
    fl_buf_fini(&reply);
    return rc;
}

static void check_network(checkup *c, const char *ca_pem, const char *cert_pem)
{
    fl_err err = {0};
    char key[FL_PEM_MAX] = "";
    const node_store *s = c->s->store;
    if (c->s->is_live) { /* its own connection tells; a second one would disturb it */
        unsigned failures = c->s->state->failures;
        say(c, failures ? "bad" : "ok", "coordinator", "%s %s", s->address,
            failures ? "does not answer: the node's log has the cause" : "answers");
        return;
    }
    if (!check_name(c, s->address))
        return;
    fl_code rc = fl_pem_read(key, s->dir, "tls.key", &err);
    const wire_client_config config = {.address = s->address, .ca_pem = ca_pem, .cert_pem = cert_pem, .key_pem = key};
    if (rc == FL_OK)
        rc = poll(c, &config, &err);
    if (rc)
        say(c, "bad", "coordinator", "%s: the port must be open outward; a proxy must pass TLS through", err.text);
    else
        say(c, "ok", "coordinator", "%s answers, and knows this node", s->address);
    fl_wipe(key, sizeof key);
}

static void check_enrolment(checkup *c)
{
    fl_err err = {0};
    char ca[FL_PEM_MAX], cert[FL_PEM_MAX];
    if (!c->s->store->enrolled)
        say(c, "warn", "enrolment", "not enrolled: ask the consortium for an invitation, then `cordon-node enrol`");
    else if (fl_pem_read(ca, c->s->store->dir, "ca.crt", &err) || fl_pem_read(cert, c->s->store->dir, "tls.crt", &err))
        say(c, "bad", "enrolment", "%s", err.text);
    else {
        say(c, "ok", "enrolment", "member of %s as %s", c->s->store->coordinator, c->s->store->name);
        check_certificate(c, cert, ca);
        check_network(c, ca, cert);
    }
}

int node_doctor_command(fl_cli *cli, node_session *s)
{
    checkup c = {.cli = cli, .s = s, .list = fl_cli_flag(cli, "json") ? fl_json_array() : NULL};
    check_rights(&c);
    check_disk(&c);
    check_clock(&c);
    check_cpu(&c);
    check_decoder(&c);
    check_policy(&c);
    check_enrolment(&c);
    if (c.list)
        (void)node_print_json(cli, c.list);
    return c.n_bad ? 1 : 0;
}
