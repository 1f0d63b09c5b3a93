#include "proto/net/server.h"
#include "base/log.h"
#include "proto/net/peers.h"
#include "proto/net/rep.h"
#include "proto/net/tls_engine.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX (2u << 20) /* what nng may allocate; wire_unpack is stricter */

struct wire_server {
    wire_on_request on_request;
    wire_allow allow;
    void *ctx;
    wire_rep *rep;
    wire_peers *peers;
    wire_tls_config tls;
    uint16_t port;
};

static bool allowed(const wire_server *s, const wire_peer *peer)
{
    return !s->allow || s->allow(s->ctx, peer);
}

/* Before a pipe carries anything: who is it, and may he? */
static void pipe_comes(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    wire_server *s = arg;
    wire_peer peer;
    (void)event;
    if (!wire_tls_peer(pipe, &peer) || !allowed(s, &peer) || !wire_peers_add(s->peers, pipe, &peer))
        nng_pipe_close(pipe);
}

static void pipe_goes(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    wire_server *s = arg;
    (void)event;
    wire_peers_remove(s->peers, pipe);
}

static bool request_comes(void *arg, uint64_t ticket, nng_msg *msg)
{
    wire_server *s = arg;
    wire_peer peer;
    nng_pipe pipe = nng_msg_get_pipe(msg);
    if (!wire_peers_find(s->peers, pipe, &peer))
        return false; /* gone already */
    if (!allowed(s, &peer)) {
        nng_pipe_close(pipe);
        return false;
    }
    s->on_request(s->ctx, ticket, nng_msg_body(msg), nng_msg_len(msg), &peer);
    return true;
}

static fl_code listen_fail(const wire_server_config *config, int rv, fl_err *err)
{
    const char *host = config->host && config->host[0] ? config->host : "*";
    if (rv == NNG_EADDRINUSE)
        return fl_fail(err, FL_EENV, "%s:%u: the port is in use by another program", host, config->port);
    if (rv == NNG_EADDRINVAL)
        return fl_fail(err, FL_EENV, "%s:%u: not an address of this machine", host, config->port);
    return fl_fail(err, FL_EENV, "%s:%u: cannot listen: %s", host, config->port, nng_strerror(rv));
}

static uint16_t bound_port(nng_listener listener)
{
    nng_sockaddr a;
    if (nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &a))
        return 0;
    return ntohs(a.s_family == NNG_AF_INET6 ? a.s_in6.sa_port : a.s_in.sa_port);
}

static fl_code listen_on(wire_server *s, const wire_server_config *config, fl_err *err)
{
    char url[320];
    nng_listener listener;
    const char *host = config->host && strcmp(config->host, "*") ? config->host : "";
    bool v6 = strchr(host, ':') != NULL;
    snprintf(url, sizeof url, "tls+tcp://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", config->port);
    int rv = nng_listener_create(&listener, wire_rep_socket(s->rep), url);
    if (!rv)
        rv = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, s->tls.config);
    if (!rv)
        rv = nng_listener_start(listener, 0);
    if (rv)
        return listen_fail(config, rv, err);
    s->port = config->port ? config->port : bound_port(listener);
    return s->port ? FL_OK : fl_fail(err, FL_EENV, "server: the port that was given cannot be found out");
}

static fl_code server_start(wire_server *s, const wire_server_config *config, fl_err *err)
{
    wire_tls_params tls = {
        .is_server = true, .ca_pem = config->ca_pem, .cert_pem = config->cert_pem, .key_pem = config->key_pem};
    fl_code code = wire_tls_config_init(&s->tls, &tls, err);
    if (!code)
        code = wire_peers_create(&s->peers, config->stranger_ms ? config->stranger_ms : 15000, err);
    if (!code)
        code = wire_rep_open(&s->rep, config->n_contexts ? config->n_contexts : 256, MESSAGE_MAX, request_comes, s,
                             err);
    if (code)
        return code;
    nng_socket socket = wire_rep_socket(s->rep);
    if (nng_pipe_notify(socket, NNG_PIPE_EV_ADD_PRE, pipe_comes, s) ||
        nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, pipe_goes, s))
        return fl_fail(err, FL_EENV, "server: cannot watch its connections");
    if ((code = wire_rep_start(s->rep, err)) || (code = listen_on(s, config, err)))
        return code;
    return wire_peers_watch(s->peers, s->port, err);
}

fl_code wire_server_start(wire_server **out, const wire_server_config *config, fl_err *err)
{
    wire_server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return fl_fail(err, FL_EENV, "server: no memory");
    s->on_request = config->on_request;
    s->allow = config->allow;
    s->ctx = config->ctx;
    *out = s; /* before the first request can come */
    fl_code code = server_start(s, config, err);
    if (code) {
        wire_server_stop(s);
        *out = NULL;
    }
    return code;
}

uint16_t wire_server_port(const wire_server *s)
{
    return s->port;
}

void wire_server_reply(wire_server *s, uint64_t ticket, const uint8_t *bytes, size_t n)
{
    wire_rep_reply(s->rep, ticket, bytes, n);
}

void wire_server_ignore(wire_server *s, uint64_t ticket)
{
    wire_rep_ignore(s->rep, ticket);
}

unsigned wire_server_drop(wire_server *s, const fl_hash *spki)
{
    return wire_peers_drop(s->peers, spki);
}

unsigned wire_server_peers(wire_server *s)
{
    return wire_peers_count(s->peers);
}

void wire_server_stop(wire_server *s)
{
    if (!s)
        return;
    if (!wire_rep_close(s->rep))
        return;
    wire_peers_destroy(s->peers);
    wire_tls_config_fini(&s->tls);
    free(s);
}
