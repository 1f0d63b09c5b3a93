#include "proto/msg/enrol.h"
#include "cordon.pb-c.h"
#include "proto/msg/codec.h"
#include <string.h>

#define ENROL_MAGIC     "CDE1"
#define ENROL_DOMAIN    "cordon enrol v1\n"
#define ENROLLED_MAGIC  "CDR1"
#define ENROLLED_DOMAIN "cordon enrolled v1\n"
#define VERSION         1

bool wire_is_enrol(const uint8_t *bytes, size_t n)
{
    return n >= 4 && memcmp(bytes, ENROL_MAGIC, 4) == 0;
}

/* One line of printable ASCII, or several (PEM) with lines. */
static bool text_ok(const char *text, size_t size, bool lines)
{
    size_t n = strnlen(text, size);
    for (size_t i = 0; i < n; i++)
        if ((text[i] < 0x20 || text[i] > 0x7e) && !(lines && text[i] == '\n'))
            return false;
    return n > 0 && n < size;
}

static fl_code take(char *out, size_t size, const char *text, bool lines, const char *field, fl_err *err)
{
    if (!text_ok(text, size, lines))
        return fl_fail(err, FL_EFORMAT, "enrolment: %s is empty, too long or not plain text", field);
    memcpy(out, text, strlen(text) + 1);
    return FL_OK;
}

static fl_code take_name(char out[WIRE_NAME_MAX], const char *name, fl_err *err)
{
    if (!wire_name_ok(name))
        return fl_fail(err, FL_EFORMAT, "enrolment: name is not 1 to 63 of [A-Za-z0-9._-]");
    memcpy(out, name, strlen(name) + 1);
    return FL_OK;
}

static fl_code take_key(uint8_t out[FL_PUBLIC_KEY_SIZE], ProtobufCBinaryData data, uint32_t version, fl_err *err)
{
    if (version != VERSION)
        return fl_fail(err, FL_EFORMAT, "enrolment: version is %u, expected %d: one side needs an update", version,
                       VERSION);
    if (data.len != FL_PUBLIC_KEY_SIZE)
        return fl_fail(err, FL_EFORMAT, "enrolment: public_key has %zu bytes, expected %d", data.len,
                       FL_PUBLIC_KEY_SIZE);
    memcpy(out, data.data, FL_PUBLIC_KEY_SIZE);
    return FL_OK;
}

/* What is sent passes the same checks as what is received. */
static fl_code enrol_take(wire_enrol *out, const WirePb__Enrol *p, fl_err *err)
{
    fl_code code;
    if ((code = take_key(out->public_key, p->public_key, p->version, err)) ||
        (code = take_name(out->name, p->name, err)) ||
        (code = take(out->request_pem, sizeof out->request_pem, p->request_pem, true, "certificate request", err)) ||
        (code = take(out->vkey, sizeof out->vkey, p->vkey, false, "ledger key", err)))
        return code;
    return FL_OK;
}

fl_code wire_enrol_pack(fl_buf *out, const wire_enrol *request, const fl_sign_key *key, fl_err *err)
{
    WirePb__Enrol p = WIRE_PB__ENROL__INIT;
    wire_enrol checked;
    p.version = VERSION;
    p.name = (char *)request->name;
    p.request_pem = (char *)request->request_pem;
    p.public_key = (ProtobufCBinaryData){FL_PUBLIC_KEY_SIZE, (uint8_t *)key->public_key};
    p.vkey = (char *)request->vkey;
    fl_code code = enrol_take(&checked, &p, err);
    return code ? code : wire_frame_write(out, ENROL_MAGIC, ENROL_DOMAIN, &p.base, key, err);
}

fl_code wire_enrol_unpack(wire_enrol *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    wire_decoder d = {0};
    ProtobufCMessage *p;
    memset(out, 0, sizeof *out);
    fl_code code = wire_frame_read(&p, &d, ENROL_MAGIC, &wire_pb__enrol__descriptor, bytes, n, WIRE_ENROL_MAX, err);
    if (!code)
        code = enrol_take(out, (WirePb__Enrol *)p, err);
    if (!code)
        code = wire_frame_verify(&d, ENROL_DOMAIN, out->public_key, err);
    wire_decoder_fini(&d);
    return code;
}

static fl_code enrolled_take(wire_enrolled *out, const WirePb__Enrolled *p, fl_err *err)
{
    fl_code code;
    if ((code = take_key(out->public_key, p->public_key, p->version, err)) ||
        (code = take_name(out->name, p->name, err)) ||
        (code = take(out->vkey, sizeof out->vkey, p->vkey, false, "ledger key", err)))
        return code;
    out->refused = p->refused[0] != 0;
    if (out->refused && p->cert_pem[0])
        return fl_fail(err, FL_EFORMAT, "enrolment: a refusal that brings a certificate");
    return out->refused ? take(out->text, sizeof out->text, p->refused, false, "reason", err)
                        : take(out->cert_pem, sizeof out->cert_pem, p->cert_pem, true, "certificate", err);
}

fl_code wire_enrolled_pack(fl_buf *out, const wire_enrolled *reply, const fl_sign_key *key, fl_err *err)
{
    WirePb__Enrolled p = WIRE_PB__ENROLLED__INIT;
    wire_enrolled checked;
    p.version = VERSION;
    p.name = (char *)reply->name;
    p.public_key = (ProtobufCBinaryData){FL_PUBLIC_KEY_SIZE, (uint8_t *)key->public_key};
    p.vkey = (char *)reply->vkey;
    if (reply->refused)
        p.refused = reply->text[0] ? (char *)reply->text : "refused";
    else
        p.cert_pem = (char *)reply->cert_pem;
    fl_code code = enrolled_take(&checked, &p, err);
    return code ? code : wire_frame_write(out, ENROLLED_MAGIC, ENROLLED_DOMAIN, &p.base, key, err);
}

fl_code wire_enrolled_unpack(wire_enrolled *out, const uint8_t *bytes, size_t n, fl_err *err)
{
    wire_decoder d = {0};
    ProtobufCMessage *p;
    memset(out, 0, sizeof *out);
    fl_code code = wire_frame_read(&p, &d, ENROLLED_MAGIC, &wire_pb__enrolled__descriptor, bytes, n, WIRE_ENROL_MAX,
                                   err);
    if (!code)
        code = enrolled_take(out, (WirePb__Enrolled *)p, err);
    if (!code)
        code = wire_frame_verify(&d, ENROLLED_DOMAIN, out->public_key, err);
    wire_decoder_fini(&d);
    return code;
}
