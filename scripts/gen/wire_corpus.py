#!/usr/bin/env python3
"""Fills fuzz/corpus/envelope from tests/proto/golden.h (every kind as it is, cut short, and with one byte changed) and
fuzz/corpus/enrol with made-up requests and invitations (no real keys)."""
import base64
import hashlib
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "fuzz/corpus/envelope"
OUT.mkdir(parents=True, exist_ok=True)
text = (ROOT / "tests/proto/golden.h").read_text()
for name, lines in re.findall(r"\{WIRE_(\w+),\n(.*?)\},", text, re.S):
    whole = bytes.fromhex("".join(re.findall(r'"([0-9a-f]*)"', lines)))
    (OUT / name.lower()).write_bytes(whole)
    (OUT / (name.lower() + "-cut")).write_bytes(whole[: (68 + len(whole)) // 2])
    changed = bytearray(whole)
    changed[len(whole) * 9 // 10] ^= 0x80
    (OUT / (name.lower() + "-changed")).write_bytes(changed)
(OUT / "empty").write_bytes(b"")
(OUT / "length-2-63").write_bytes(b"CDN1" + bytes(64) + bytes.fromhex("080112ffffffffffffffff7f"))
(OUT / "two-bodies").write_bytes(b"CDN1" + bytes(64) + bytes.fromhex("08011201619202" "00a20200"))
(OUT / "fields-without-end").write_bytes(b"CDN1" + bytes(64) + b"\x42\x00" * 3000)

OUT = ROOT / "fuzz/corpus/enrol"
OUT.mkdir(parents=True, exist_ok=True)


def text_field(number, value):
    value = value.encode() if isinstance(value, str) else value
    length = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 127 | 128, len(value) >> 7])
    return bytes([number << 3 | 2]) + length + value


def invitation(members):
    body = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return b"cordon1:" + base64.b64encode(body + hashlib.sha256(body).digest()[:8])


whole = {"address": "hub.example.org:7443", "ca": "PEM", "certificate": "PEM", "expires": 1900000000, "key": "PEM",
         "name": "st-anna"}
(OUT / "request").write_bytes(b"CDE1" + bytes(64) + b"\x08\x01" + text_field(2, "st-anna") + text_field(3, "PEM\n") +
                              text_field(4, bytes(32)) + text_field(5, "cordon/st-anna+0+A"))
(OUT / "reply").write_bytes(b"CDR1" + bytes(64) + b"\x08\x01" + text_field(2, "hub") + text_field(3, bytes(32)) +
                            text_field(4, "cordon/hub+0+A") + text_field(5, "PEM\n" * 50))
(OUT / "refusal").write_bytes(b"CDR1" + bytes(64) + b"\x08\x01" + text_field(2, "hub") + text_field(3, bytes(32)) +
                              text_field(4, "cordon/hub+0+A") + text_field(6, "used before"))
(OUT / "invitation").write_bytes(invitation(whole))
(OUT / "invitation-expired").write_bytes(invitation({**whole, "expires": 1}))
(OUT / "invitation-more").write_bytes(invitation({**whole, "more": 1}))
(OUT / "invitation-cut").write_bytes(invitation(whole)[:-5])
(OUT / "address-v6").write_bytes(b"[::1]:7443")
