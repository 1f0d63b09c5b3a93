#!/usr/bin/env python3
"""Writes tests/proto/golden.h: one envelope of each kind, encoded here from the byte tables of docs/protocol.md alone
(no protobuf library) and signed by the cryptography package. The sample values are those of tests/proto/sample.h."""
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(0x40, 0x60)))


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def data(field, value, always=False):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value if value or always else b""


def fill(byte):
    return bytes([byte]) * 32


NOTE = "cordon/st-anna\n17\nAAAA\n\n\u2014 cordon/st-anna BBBB\n"
SITES = [("mercy", 800, 0, fill(0)), ("st-anna", 1200, 17, fill(0x77))]


def announce(deadline_s, own_hash):
    out = number(1, 3) + data(2, fill(0x33)) + data(3, fill(0x66)) + data(4, own_hash) + number(5, 1000)
    out += number(6, deadline_s)
    for name, patients, size, root in SITES:
        out += data(7, data(1, name) + number(2, patients) + number(3, size) + data(4, root))
    return out


def piece(byte, offset, total, content):
    return data(1, fill(byte)) + number(2, offset) + number(3, total) + data(4, content)


LINE = '{"kind":"RELEASE"}'


def known(study, round_):
    return data(4, data(1, study) + number(2, round_) + data(3, bytes(range(16))) + data(4, fill(0x55)) + data(5, fill(0x66)))


BODIES = [
    ("POLL", 16, number(1, 2) + number(2, 25000) + number(3, 17)),
    ("FETCH", 17, data(1, fill(0x22)) + number(2, 65536) + number(3, 131072)),
    ("JOIN", 18, data(1, fill(0x33)) + number(2, 1200)),
    ("HEAD", 19, data(1, NOTE) + data(2, fill(0x88)) + data(2, fill(0x89)) + data(3, LINE) + data(4, fill(0x8a)) + data(5, NOTE)),
    ("UPLOAD", 20, piece(0x44, 4, 10, "update")),
    ("RELEASED", 21, data(1, fill(0x44)) + number(2, 10) + data(3, fill(0x55)) + data(4, LINE) + data(5, fill(0x8b))),
    ("LEAVE", 22, b""),
    ("WITNESS", 23, number(1, 128)),
    ("ROTATED", 24, data(1, LINE) + data(1, "{}")),
    ("KEYS", 25, data(1, fill(0x99))),
    ("ANNOUNCE", 32, announce(3600, hashlib.sha256(announce(0, b"")).digest())),
    ("PLAN", 33, data(1, '{"name":"chest-1"}') + number(2, 1)),
    ("NOTHING", 34, b""),
    ("BYTES", 35, piece(0x66, 0, 4, "abcd")),
    ("OK", 36, b""),
    ("COSIGNED", 37, data(1, NOTE)),
    ("LENGTH", 38, data(1, fill(0x44)) + number(2, 10)),
    ("RECEIPT", 39, data(1, fill(0x44)) + data(2, bytes(range(64)))),
    ("ERROR", 40, number(1, 12) + number(2, 1) + data(3, "no proof") + number(4, 17)),
    ("WITNESSED", 41, data(1, NOTE) + number(2, 0x100000002) + number(3, 300) + known("chest-1", 3) + known("spine", 4)),
    ("KEY_CHAIN", 42, data(1, LINE)),
]


def envelope(index, field, body):
    content = number(1, 1) + data(2, "st-anna" if index < 10 else "hub") + data(3, "chest-1")
    content += varint(4 << 3 | 1) + struct.pack("<Q", 0x0102030405060708) + number(5, 0x100000002) + number(6, 3)
    content += data(7, bytes(range(16))) + data(field, body, always=True)
    signature = KEY.sign(b"cordon envelope v1\n" + hashlib.sha256(content).digest())
    return b"CDN1" + signature + content


print("/* Made by scripts/gen/wire_golden.py. */\n#ifndef TESTS_PROTO_GOLDEN_H\n#define TESTS_PROTO_GOLDEN_H\n")
print("/* clang-format off */\nstatic const struct { wire_kind kind; const char *hex; } golden[] = {")
for index, (name, field, body) in enumerate(BODIES):
    hexed = envelope(index, field, body).hex()
    lines = [hexed[i:i + 104] for i in range(0, len(hexed), 104)]
    print("    {WIRE_%s,\n%s}," % (name, "\n".join('     "%s"' % line for line in lines)))
print("};\n/* clang-format on */\n\n#endif")
