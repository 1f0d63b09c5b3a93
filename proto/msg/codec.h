/*
 * The protobuf side of proto/msg, inside this folder only: strict reading of protobuf bytes, and the frame of magic,
 * signature and content that messages and enrolments share.
 */
#ifndef PROTO_MSG_CODEC_H
#define PROTO_MSG_CODEC_H

#include "proto/msg/envelope.h"
#include <protobuf-c/protobuf-c.h>

#define WIRE_FIELDS_MAX 2048 /* an ANNOUNCE of 256 sites has 1288, a WITNESSED of 128 debits 780 */
#define WIRE_DEPTH_MAX  4

/* Walks the wire format without allocating: known fields of their type, in ascending order, none twice unless
 * repeated, lengths inside what is left, at most WIRE_FIELDS_MAX fields and WIRE_DEPTH_MAX levels. */
fl_code wire_scan(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

/* A frame is magic (4), signature (64), content. Checks the size and the magic, copies the bytes into the decoder,
 * scans and unpacks the content as `type` with the decoder's memory, and compares it with its canonical form.
 * The result lives in the decoder. */
fl_code wire_frame_read(ProtobufCMessage **out, wire_decoder *d, const char *magic,
                        const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t n, size_t max,
                        fl_err *err) FL_MUST_USE;
/* Signature over domain || SHA-256(content). */
fl_code wire_frame_verify(const wire_decoder *d, const char *domain, const uint8_t public_key[FL_PUBLIC_KEY_SIZE],
                          fl_err *err) FL_MUST_USE;
fl_code wire_frame_write(fl_buf *out, const char *magic, const char *domain, const ProtobufCMessage *content,
                         const fl_sign_key *key, fl_err *err) FL_MUST_USE;

#endif
