#include "proto/msg/codec.h"
#include "crypto/hash.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- strict walk over the wire format ---- */

typedef struct walk {
    const uint8_t *at, *end;
} walk;

static bool walk_varint(walk *w, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        if (shift == 63 && byte > 1)
            return false;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static unsigned wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    default:
        return 0;
    }
}

static fl_code scan_level(const ProtobufCMessageDescriptor *type, walk w, unsigned depth, unsigned *n_fields,
                          fl_err *err);

static fl_code scan_value(const ProtobufCFieldDescriptor *field, walk *w, unsigned depth, unsigned *n_fields,
                          fl_err *err)
{
    uint64_t value;
    unsigned wire_type = wire_type_of(field->type);
    if (wire_type == 1 || wire_type == 5) {
        size_t size = wire_type == 1 ? 8 : 4;
        if ((size_t)(w->end - w->at) < size)
            return fl_fail(err, FL_EFORMAT, "message: field %s is cut short", field->name);
        w->at += size;
        return FL_OK;
    }
    if (!walk_varint(w, &value))
        return fl_fail(err, FL_EFORMAT, "message: field %s has no readable number", field->name);
    if (wire_type == 0)
        return FL_OK;
    if (value > (uint64_t)(w->end - w->at))
        return fl_fail(err, FL_EFORMAT, "message: field %s says %llu bytes, %zu are left", field->name,
                       (unsigned long long)value, (size_t)(w->end - w->at));
    walk inner = {w->at, w->at + value};
    w->at = inner.end;
    return field->type == PROTOBUF_C_TYPE_MESSAGE ? scan_level(field->descriptor, inner, depth + 1, n_fields, err)
                                                  : FL_OK;
}

static fl_code scan_level(const ProtobufCMessageDescriptor *type, walk w, unsigned depth, unsigned *n_fields,
                          fl_err *err)
{
    uint64_t tag, last = 0;
    if (depth > WIRE_DEPTH_MAX)
        return fl_fail(err, FL_EFORMAT, "message: more than %d levels", WIRE_DEPTH_MAX);
    while (w.at < w.end) {
        if (!walk_varint(&w, &tag) || tag > UINT32_MAX)
            return fl_fail(err, FL_EFORMAT, "message: a field has no readable tag");
        if (++*n_fields > WIRE_FIELDS_MAX)
            return fl_fail(err, FL_EFORMAT, "message: more than %d fields", WIRE_FIELDS_MAX);
        uint64_t number = tag >> 3;
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, (unsigned)number);
        if (!field)
            return fl_fail(err, FL_EFORMAT, "message: unknown field %llu", (unsigned long long)number);
        if ((tag & 7) != wire_type_of(field->type))
            return fl_fail(err, FL_EFORMAT, "message: field %s is of another type", field->name);
        if (number < last || (number == last && field->label != PROTOBUF_C_LABEL_REPEATED))
            return fl_fail(err, FL_EFORMAT, "message: field %s comes twice or out of order", field->name);
        last = number;
        fl_code code = scan_value(field, &w, depth, n_fields, err);
        if (code)
            return code;
    }
    return FL_OK;
}

fl_code wire_scan(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t n, fl_err *err)
{
    unsigned n_fields = 0;
    return scan_level(type, (walk){bytes, bytes + n}, 1, &n_fields, err);
}

/* ---- the decoder's memory: cut from the front, never grown while something points into it ---- */

static void *decoder_alloc(void *decoder, size_t size)
{
    wire_decoder *d = decoder;
    size_t at = (d->used + 15) & ~(size_t)15;
    if (at > d->capacity || size > d->capacity - at)
        return NULL;
    d->used = at + size;
    return d->memory + at;
}

static void decoder_free(void *decoder, void *pointer)
{
    (void)decoder, (void)pointer;
}

static fl_code decoder_start(wire_decoder *d, const uint8_t *bytes, size_t n, fl_err *err)
{
    size_t need = 3 * n + (256u << 10); /* the copy, the unpacked bytes, the canonical form; structs and tables */
    d->envelope = NULL;
    d->used = 0;
    if (d->capacity < need) {
        free(d->memory);
        d->capacity = 0;
        d->memory = malloc(need);
        if (!d->memory)
            return fl_fail(err, FL_EENV, "message: no memory for %zu bytes", need);
        d->capacity = need;
    }
    uint8_t *copy = decoder_alloc(d, n);
    assert(copy);
    memcpy(copy, bytes, n);
    d->envelope = copy;
    d->n_envelope = n;
    return FL_OK;
}

void wire_decoder_fini(wire_decoder *d)
{
    if (!d)
        return;
    free(d->memory);
    *d = (wire_decoder){0};
}

/* ---- frames ---- */

static bool is_canonical(wire_decoder *d, const ProtobufCMessage *m, const uint8_t *content, size_t n)
{
    if (protobuf_c_message_get_packed_size(m) != n)
        return false;
    uint8_t *again = decoder_alloc(d, n);
    return again && protobuf_c_message_pack(m, again) == n && memcmp(again, content, n) == 0;
}

static fl_code frame_read(ProtobufCMessage **out, wire_decoder *d, const ProtobufCMessageDescriptor *type, fl_err *err)
{
    const uint8_t *content = d->envelope + WIRE_ENVELOPE_HEAD;
    size_t n = d->n_envelope - WIRE_ENVELOPE_HEAD;
    fl_code code = wire_scan(type, content, n, err);
    if (code)
        return code;
    ProtobufCAllocator allocator = {decoder_alloc, decoder_free, d};
    *out = protobuf_c_message_unpack(type, &allocator, n, content);
    if (!*out)
        return fl_fail(err, FL_EFORMAT, "message: cannot be decoded");
    if (!is_canonical(d, *out, content, n))
        return fl_fail(err, FL_EFORMAT, "message: is not in canonical form");
    return FL_OK;
}

fl_code wire_frame_read(ProtobufCMessage **out, wire_decoder *d, const char *magic,
                        const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t n, size_t max, fl_err *err)
{
    d->envelope = NULL;
    if (n < WIRE_ENVELOPE_HEAD || n > max)
        return fl_fail(err, FL_EFORMAT, "message: %zu bytes, expected %d to %zu", n, WIRE_ENVELOPE_HEAD, max);
    if (memcmp(bytes, magic, 4))
        return fl_fail(err, FL_EFORMAT, "message: does not begin with %s", magic);
    fl_code code = decoder_start(d, bytes, n, err);
    if (!code)
        code = frame_read(out, d, type, err);
    if (code)
        d->envelope = NULL;
    return code;
}

#define SIGNED_MAX 64

static size_t signed_text(uint8_t text[SIGNED_MAX], const char *domain, const uint8_t *content, size_t n)
{
    size_t n_domain = strlen(domain);
    assert(n_domain + FL_HASH_SIZE <= SIGNED_MAX);
    fl_hash hash = fl_sha256(content, n);
    memcpy(text, domain, n_domain);
    memcpy(text + n_domain, hash.bytes, FL_HASH_SIZE);
    return n_domain + FL_HASH_SIZE;
}

fl_code wire_frame_verify(const wire_decoder *d, const char *domain, const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                          fl_err *err)
{
    assert(d->envelope);
    uint8_t text[SIGNED_MAX];
    size_t n = signed_text(text, domain, d->envelope + WIRE_ENVELOPE_HEAD, d->n_envelope - WIRE_ENVELOPE_HEAD);
    if (!fl_sign_verify(d->envelope + 4, public_key, text, n))
        return fl_fail(err, FL_EREFUSED, "message: the signature is not the sender's");
    return FL_OK;
}

fl_code wire_frame_write(fl_buf *out, const char *magic, const char *domain, const ProtobufCMessage *content,
                         const fl_sign_key *key, fl_err *err)
{
    uint8_t text[SIGNED_MAX], signature[FL_SIGNATURE_SIZE];
    size_t n = protobuf_c_message_get_packed_size(content);
    uint8_t *bytes = malloc(n ? n : 1);
    if (!bytes)
        return fl_fail(err, FL_EENV, "message: no memory for %zu bytes", n);
    protobuf_c_message_pack(content, bytes);
    fl_sign(signature, key, text, signed_text(text, domain, bytes, n));
    fl_buf_add(out, magic, 4);
    fl_buf_add(out, signature, sizeof signature);
    fl_buf_add(out, bytes, n);
    free(bytes);
    return fl_buf_check(out, "message", err);
}
