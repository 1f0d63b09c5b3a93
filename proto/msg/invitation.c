#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "crypto/csprng.h"
#include "crypto/hash.h"
#include "proto/msg/enrol.h"
#include "proto/msg/envelope.h"
#include <stdlib.h>
#include <string.h>

#define PREFIX     "cordon1:"
#define CHECK_SIZE 8

fl_code wire_address_split(char host[256], uint16_t *port, const char *address, fl_err *err)
{
    size_t n = strnlen(address, WIRE_ADDRESS_MAX);
    const char *colon = n < WIRE_ADDRESS_MAX ? strrchr(address, ':') : NULL;
    if (!colon)
        return fl_fail(err, FL_EFORMAT, "address: not host:port, for example coordinator.example.org:7443");
    const char *begin = address, *end = colon;
    bool bracket = *begin == '[' && end - begin >= 2 && end[-1] == ']';
    if (bracket)
        begin++, end--;
    size_t n_host = (size_t)(end - begin);
    if (n_host < 1 || n_host > 255 || (!bracket && memchr(begin, ':', n_host)) ||
        strspn(begin, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:") < n_host)
        return fl_fail(err, FL_EFORMAT, "address: no usable host name before the port");
    unsigned long number = 0;
    size_t n_port = strlen(colon + 1);
    if (n_port >= 1 && n_port <= 5 && strspn(colon + 1, "0123456789") == n_port)
        number = strtoul(colon + 1, NULL, 10);
    if (number < 1 || number > 65535)
        return fl_fail(err, FL_EFORMAT, "address: the port is not a number from 1 to 65535");
    memcpy(host, begin, n_host);
    host[n_host] = 0;
    *port = (uint16_t)number;
    return FL_OK;
}

void wire_invitation_fini(wire_invitation *invitation)
{
    if (invitation)
        fl_wipe(invitation, sizeof *invitation);
}

static fl_code json_write(fl_buf *json, const wire_invitation *v, fl_err *err)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "address", v->address);
    fl_json_set_text(j, "ca", v->ca_pem);
    fl_json_set_text(j, "certificate", v->cert_pem);
    fl_json_set_int(j, "expires", v->expires_s);
    fl_json_set_text(j, "key", v->key_pem);
    fl_json_set_text(j, "name", v->name);
    fl_code code = fl_json_canonical(json, j, err);
    fl_json_free(j);
    return code;
}

fl_code wire_invitation_write(fl_buf *out, const wire_invitation *invitation, fl_err *err)
{
    char host[256];
    uint16_t port;
    fl_code code = wire_address_split(host, &port, invitation->address, err);
    if (code)
        return code;
    if (!wire_name_ok(invitation->name))
        return fl_fail(err, FL_EFORMAT, "invitation: name is not 1 to 63 of [A-Za-z0-9._-]");
    fl_buf json;
    fl_buf_init(&json, WIRE_INVITATION_MAX);
    code = json_write(&json, invitation, err);
    if (!code) {
        fl_hash check = fl_sha256(json.bytes, json.size);
        fl_buf_add(&json, check.bytes, CHECK_SIZE);
        code = fl_buf_check(&json, "invitation", err);
    }
    char *text = code ? NULL : malloc(FL_BASE64_SIZE(json.size));
    if (!code && !text)
        code = fl_fail(err, FL_EENV, "invitation: no memory");
    if (!code) {
        fl_base64_encode(text, json.bytes, json.size);
        fl_buf_add_text(out, PREFIX);
        fl_buf_add_text(out, text);
        fl_wipe(text, strlen(text));
        code = fl_buf_check(out, "invitation", err);
    }
    free(text);
    if (json.bytes)
        fl_wipe(json.bytes, json.size);
    fl_buf_fini(&json);
    return code;
}

static bool take(char *out, size_t size, const fl_json *j, const char *key)
{
    const char *text = fl_json_text(j, key);
    size_t n = text ? strlen(text) : 0;
    if (n == 0 || n >= size)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

static bool json_take(wire_invitation *out, const fl_json *j)
{
    return fl_json_is_object(j) && fl_json_count(j) == 6 && take(out->address, sizeof out->address, j, "address") &&
           take(out->ca_pem, sizeof out->ca_pem, j, "ca") &&
           take(out->cert_pem, sizeof out->cert_pem, j, "certificate") && fl_json_int(j, "expires", &out->expires_s) &&
           take(out->key_pem, sizeof out->key_pem, j, "key") && take(out->name, sizeof out->name, j, "name") &&
           wire_name_ok(out->name);
}

static fl_code damaged(fl_err *err)
{
    return fl_fail(err, FL_EFORMAT, "invitation: damaged: copy the whole line again");
}

static fl_code payload_take(wire_invitation *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    char host[256];
    uint16_t port;
    if (n < CHECK_SIZE)
        return damaged(err);
    fl_hash check = fl_sha256(bytes, n - CHECK_SIZE);
    if (memcmp(check.bytes, bytes + n - CHECK_SIZE, CHECK_SIZE))
        return damaged(err);
    fl_json *j;
    fl_code code = fl_json_parse(&j, (const char *)bytes, n - CHECK_SIZE, "invitation", err);
    if (code)
        return code;
    bool taken = json_take(out, j);
    fl_json_free(j);
    if (!taken)
        return fl_fail(err, FL_EFORMAT, "invitation: has not the six members of version 1");
    return wire_address_split(host, &port, out->address, err);
}

static fl_code certificates_check(wire_invitation *out, int64_t now_s, fl_err *err)
{
    fl_cert_info ca, own;
    fl_code code;
    if (now_s >= out->expires_s) {
        char when[24];
        fl_clock_text(when, out->expires_s);
        return fl_fail(err, FL_EREFUSED, "invitation: expired at %s: ask the coordinator for a new one", when);
    }
    if ((code = fl_cert_read(&ca, out->ca_pem, err)) || (code = fl_cert_read(&own, out->cert_pem, err)) ||
        (code = fl_cert_check(out->cert_pem, out->ca_pem, FL_CERT_ENROL, now_s, err))) {
        if (err)
            fl_fail_in(err, "invitation");
        return code;
    }
    if (strcmp(own.name, out->name))
        return fl_fail(err, FL_EREFUSED, "invitation: its certificate is for another hospital");
    out->fingerprint = ca.fingerprint;
    return FL_OK;
}

static fl_code line_take(wire_invitation *out, const char *line, size_t n, fl_err *err)
{
    uint8_t *bytes = malloc(n);
    if (!bytes)
        return fl_fail(err, FL_EENV, "invitation: no memory");
    size_t size = fl_base64_decode(bytes, n, line, n);
    fl_code code = size == SIZE_MAX ? damaged(err) : payload_take(out, bytes, size, err);
    fl_wipe(bytes, n);
    free(bytes);
    return code;
}

fl_code wire_invitation_parse(wire_invitation *out, const char *text, int64_t now_s, fl_err *err)
{
    memset(out, 0, sizeof *out);
    text += strspn(text, " \t\r\n");
    size_t n = strcspn(text, " \t\r\n");
    if (strncmp(text, PREFIX, strlen(PREFIX)))
        return fl_fail(err, FL_EFORMAT, "invitation: not an invitation: it is one line that begins with %s", PREFIX);
    if (n > WIRE_INVITATION_MAX * 4 / 3 || n == strlen(PREFIX) || text[n + strspn(text + n, " \t\r\n")])
        return damaged(err);
    fl_code code = line_take(out, text + strlen(PREFIX), n - strlen(PREFIX), err);
    if (!code)
        code = certificates_check(out, now_s, err);
    if (code)
        wire_invitation_fini(out);
    return code;
}
