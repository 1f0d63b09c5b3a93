#include "train/block.h"
#include "crypto/csprng.h"
#include "privacy/clip.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_IMAGES = 16 };

/* What the environment says: a way, a colon, a number of images. */
static nn_way way_wanted(uint32_t *images)
{
    const char *text = getenv("CORDON_GRADIENTS"), *colon = text ? strchr(text, ':') : NULL;
    if (colon && atoi(colon + 1) >= 1 && atoi(colon + 1) <= MOST_IMAGES)
        *images = (uint32_t)atoi(colon + 1);
    if (text && strncmp(text, "kept", 4) == 0)
        return NN_WAY_KEPT;
    return text && strncmp(text, "tiles", 5) == 0 ? NN_WAY_TILES : NN_WAY_CHOSEN;
}

/*
 * Weights, transposed weights and sums are 20 bytes for each weight and block, at some 27 GB/s while the other threads read
 * too; the work of an image is three times its forward pass, at some 150 Gflop/s. The block is as large as keeps the first below a tenth of the second.
 */
uint32_t nn_block_images(const nn_model *m)
{
    const double traffic = 20.0 * (double)m->n_packed / 27e9, work = 3.0 * (double)m->spec.flops / 150e9;
    uint32_t n = 1;
    while (n < MOST_IMAGES && traffic > 0.1 * n * work)
        n *= 2;
    return n;
}

static nn_engine_terms terms_of(const nn_model *m)
{
    nn_engine_terms terms = {.images = nn_block_images(m), .is_training = true};
    terms.way = way_wanted(&terms.images);
    return terms;
}

static size_t secret_size(const nn_model *m, uint32_t images, size_t kept)
{
    return fl_arena_round(fl_size_mul(images, kept * sizeof(float))) + fl_arena_round(m->n_packed * sizeof(float)) +
           fl_arena_round(m->n_packed * sizeof(int32_t)) + fl_arena_round(NN_COLLECT_SCRATCH * sizeof(int32_t)) +
           fl_arena_round(images * sizeof(nn_share)) + fl_arena_round(images * sizeof(float)) +
           fl_arena_round(images * sizeof(unsigned __int128));
}

size_t nn_place_secret_size(const nn_model *m)
{
    const nn_engine_terms terms = terms_of(m);
    return secret_size(m, terms.images, nn_kept_size(m, &terms));
}

size_t nn_place_size(const nn_model *m)
{
    const nn_engine_terms terms = terms_of(m);
    return nn_engine_size(m, &terms) + nn_place_secret_size(m);
}

fl_code nn_place_init(nn_place *p, const nn_model *m, fl_arena *arena, fl_err *err)
{
    const nn_engine_terms terms = terms_of(m);
    *p = (nn_place){.images = terms.images, .n_packed = m->n_packed};
    FL_TRY(nn_engine_create(&p->engine, m, &terms, err));
    p->n_g = p->images * nn_engine_kept(p->engine);
    p->g = fl_arena_cut(arena, p->n_g * sizeof *p->g);
    p->whole = fl_arena_cut(arena, m->n_packed * sizeof *p->whole);
    p->sum = fl_arena_cut(arena, m->n_packed * sizeof *p->sum);
    p->scratch = fl_arena_cut(arena, NN_COLLECT_SCRATCH * sizeof *p->scratch);
    p->shares = fl_arena_cut(arena, p->images * sizeof *p->shares);
    p->scales = fl_arena_cut(arena, p->images * sizeof *p->scales);
    p->squares = fl_arena_cut(arena, p->images * sizeof *p->squares);
    return FL_OK;
}

void nn_place_fini(nn_place *p)
{
    nn_engine_destroy(p->engine);
    p->engine = NULL;
}

static float scale_of(const nn_clip *c, double squares, int attempt)
{
    return c->is_automatic ? dp_clip_scale_automatic(squares, c->clip_units, attempt)
                           : dp_clip_scale(squares, c->clip_norm, c->clip_units, attempt);
}

static void negate(nn_place *p)
{
    for (size_t i = 0; i < p->n_packed; i++)
        p->sum[i] = (int32_t)(0 - (uint32_t)p->sum[i]);
}

/* A vector that came out too long leaves the sum again, to the bit, and is made with smaller scales. It takes rounding
 * that hardly ever happens, so it may be slow. */
static void add_again(nn_place *p, const nn_clip *clip, const nn_share *share, float scale)
{
    unsigned __int128 square;
    for (int attempt = 1; attempt <= DP_CLIP_ATTEMPTS; attempt++) {
        negate(p);
        nn_engine_clip(p->engine, p->sum, share, &scale, &square, 1);
        negate(p);
        if (attempt == DP_CLIP_ATTEMPTS)
            return;
        scale = scale_of(clip, share->squares, attempt);
        nn_engine_clip(p->engine, p->sum, share, &scale, &square, 1);
        if (dp_clip_holds(square, clip->clip_units))
            return;
    }
}

void nn_place_add(nn_place *p, const nn_clip *clip, uint32_t n_shares)
{
    for (uint32_t s = 0; s < n_shares; s++)
        p->scales[s] = scale_of(clip, p->shares[s].squares, 0);
    nn_engine_clip(p->engine, p->sum, p->shares, p->scales, p->squares, n_shares);
    for (uint32_t s = 0; s < n_shares; s++) {
        if (!dp_clip_holds(p->squares[s], clip->clip_units))
            add_again(p, clip, &p->shares[s], p->scales[s]);
    }
}

void nn_place_wipe(nn_place *p)
{
    fl_wipe(p->g, p->n_g * sizeof *p->g);
    fl_wipe(p->scratch, NN_COLLECT_SCRATCH * sizeof *p->scratch);
    fl_wipe(p->shares, p->images * sizeof *p->shares);
    fl_wipe(p->scales, p->images * sizeof *p->scales); /* which tell how long each gradient was */
    fl_wipe(p->squares, p->images * sizeof *p->squares);
    nn_engine_wipe(p->engine);
    if (p->used_whole)
        fl_wipe(p->whole, p->n_packed * sizeof *p->whole);
    p->used_whole = false;
}
