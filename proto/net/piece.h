/*
 * How large the next piece of a transfer should be: halved after a cut, doubled after four successes in a row, between
 * WIRE_PIECE_MIN and WIRE_PIECE_MAX. Over 64 kbit/s with a cut every 30 s a fixed piece of 1 MiB would never arrive.
 * Pure; a zeroed struct is a fresh one and starts at WIRE_PIECE_START.
 */
#ifndef PROTO_NET_PIECE_H
#define PROTO_NET_PIECE_H

#include "proto/msg/message.h"

#define WIRE_PIECE_START     131072
#define WIRE_PIECE_SUCCESSES 4

typedef struct wire_piece {
    uint32_t size; /* 0: WIRE_PIECE_START */
    uint32_t successes;
} wire_piece;

static inline uint32_t wire_piece_size(const wire_piece *p)
{
    return p->size ? p->size : WIRE_PIECE_START;
}

/* The bytes to take next when `left` remain. */
static inline uint32_t wire_piece_take(const wire_piece *p, uint64_t left)
{
    uint32_t size = wire_piece_size(p);
    return left < size ? (uint32_t)left : size;
}

static inline void wire_piece_cut(wire_piece *p)
{
    uint32_t half = wire_piece_size(p) / 2;
    p->size = half < WIRE_PIECE_MIN ? WIRE_PIECE_MIN : half;
    p->successes = 0;
}

static inline void wire_piece_done(wire_piece *p)
{
    uint32_t size = wire_piece_size(p);
    if (++p->successes < WIRE_PIECE_SUCCESSES)
        return;
    p->size = size > WIRE_PIECE_MAX / 2 ? WIRE_PIECE_MAX : size * 2;
    p->successes = 0;
}

#endif
