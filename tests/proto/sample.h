/* One valid message of each kind, with the values that scripts/gen/wire_golden.py encodes. */
#ifndef TESTS_PROTO_SAMPLE_H
#define TESTS_PROTO_SAMPLE_H

#include "crypto/sign.h"
#include "proto/msg/message.h"
#include <stdio.h>
#include <string.h>

#define SAMPLE_NOTE "cordon/st-anna\n17\nAAAA\n\n\u2014 cordon/st-anna BBBB\n"
#define SAMPLE_LINE "{\"kind\":\"RELEASE\"}"

static inline fl_hash sample_hash(uint8_t byte)
{
    fl_hash h;
    memset(h.bytes, byte, sizeof h.bytes);
    return h;
}

static inline void sample_key(fl_sign_key *key, uint8_t first)
{
    uint8_t seed[32];
    for (unsigned i = 0; i < 32; i++)
        seed[i] = (uint8_t)(first + i);
    if (fl_sign_key_from_seed(key, seed, NULL))
        *key = (fl_sign_key){0};
}

static inline void sample_body(wire_message *m)
{
    static const char *const lines[2] = {SAMPLE_LINE, "{}"};
    static fl_hash hashes[4];
    static wire_known known[2];
    static const wire_site sites[2] = {
        {.name = "mercy", .declared_patients = 800},
        {.name = "st-anna",
         .declared_patients = 1200,
         .ledger_size = 17,
         .ledger_root = {{0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                          0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                          0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77}}},
    };
    switch (m->kind) {
    case WIRE_POLL:
        m->u.poll = (wire_poll){2, 25000, 17};
        break;
    case WIRE_FETCH:
        m->u.fetch.object = sample_hash(0x22);
        m->u.fetch.offset = 65536;
        m->u.fetch.max_bytes = 131072;
        break;
    case WIRE_JOIN:
        m->u.join.plan_hash = sample_hash(0x33);
        m->u.join.declared_patients = 1200;
        break;
    case WIRE_HEAD:
        snprintf(m->u.head.note, sizeof m->u.head.note, "%s", SAMPLE_NOTE);
        snprintf(m->u.head.older, sizeof m->u.head.older, "%s", SAMPLE_NOTE);
        hashes[0] = sample_hash(0x88);
        hashes[1] = sample_hash(0x89);
        hashes[2] = sample_hash(0x8a);
        m->u.head.restore = SAMPLE_LINE;
        m->u.head.consistency = (wire_proof){.hashes = hashes, .n = 2};
        m->u.head.inclusion = (wire_proof){.hashes = hashes + 2, .n = 1};
        break;
    case WIRE_UPLOAD:
        m->u.upload.object = sample_hash(0x44);
        m->u.upload.offset = 4;
        m->u.upload.total = 10;
        m->u.upload.bytes = (const uint8_t *)"update";
        m->u.upload.n_bytes = 6;
        break;
    case WIRE_RELEASED:
        m->u.released.update_hash = sample_hash(0x44);
        m->u.released.update_bytes = 10;
        m->u.released.announce_hash = sample_hash(0x55);
        hashes[3] = sample_hash(0x8b);
        m->u.released.entry = SAMPLE_LINE;
        m->u.released.inclusion = (wire_proof){.hashes = hashes + 3, .n = 1};
        break;
    case WIRE_WITNESS:
        m->u.witness.skip = 128;
        break;
    case WIRE_ROTATED:
        m->u.rotated = (wire_lines){.list = lines, .n = 2};
        break;
    case WIRE_KEYS:
        memset(m->u.keys.public_key, 0x99, sizeof m->u.keys.public_key);
        break;
    case WIRE_WITNESSED:
        snprintf(m->u.witnessed.note, sizeof m->u.witnessed.note, "%s", SAMPLE_NOTE);
        for (unsigned i = 0; i < 2; i++) {
            known[i] = (wire_known){.round = 3 + i,
                                    .debit = "000102030405060708090a0b0c0d0e0f",
                                    .announce_hash = sample_hash(0x55),
                                    .model_hash = sample_hash(0x66)};
            snprintf(known[i].study, sizeof known[i].study, "%s", i ? "spine" : "chest-1");
        }
        m->u.witnessed.sequence = 0x100000002;
        m->u.witnessed.total = 300;
        m->u.witnessed.n_known = 2;
        m->u.witnessed.known = known;
        break;
    case WIRE_KEY_CHAIN:
        m->u.key_chain = (wire_lines){.list = lines, .n = 1};
        break;
    case WIRE_ANNOUNCE:
        m->u.announce = (wire_announce){.round = 3,
                                        .plan_hash = sample_hash(0x33),
                                        .model_hash = sample_hash(0x66),
                                        .model_bytes = 1000,
                                        .deadline_s = 3600,
                                        .n_sites = 2,
                                        .sites = sites};
        break;
    case WIRE_PLAN:
        m->u.plan.json = "{\"name\":\"chest-1\"}";
        m->u.plan.n_bytes = 18;
        m->u.plan.index = 1;
        break;
    case WIRE_BYTES:
        m->u.bytes.object = sample_hash(0x66);
        m->u.bytes.total = 4;
        m->u.bytes.bytes = (const uint8_t *)"abcd";
        m->u.bytes.n_bytes = 4;
        break;
    case WIRE_COSIGNED:
        snprintf(m->u.cosigned.note, sizeof m->u.cosigned.note, "%s", SAMPLE_NOTE);
        break;
    case WIRE_LENGTH:
        m->u.length.object = sample_hash(0x44);
        m->u.length.length = 10;
        break;
    case WIRE_RECEIPT:
        m->u.receipt.update_hash = sample_hash(0x44);
        for (unsigned i = 0; i < 64; i++)
            m->u.receipt.signature[i] = (uint8_t)i;
        break;
    case WIRE_ERROR:
        m->u.error.code = WIRE_E_NO_PROOF;
        m->u.error.retry = true;
        m->u.error.ledger_size = 17;
        snprintf(m->u.error.text, sizeof m->u.error.text, "no proof");
        break;
    default:
        break;
    }
}

static inline wire_message sample(wire_kind kind)
{
    wire_message m = {.kind = kind,
                      .study = "chest-1",
                      .request_id = 0x0102030405060708,
                      .sequence = 0x100000002,
                      .round = 3,
                      .debit = "000102030405060708090a0b0c0d0e0f"};
    snprintf(m.sender, sizeof m.sender, "%s", kind <= WIRE_KEYS ? "st-anna" : "hub");
    sample_body(&m);
    return m;
}

#endif
