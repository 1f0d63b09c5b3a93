/*
 * nn_engine - one thread's place of work: forward and backward of a block of images through a model.
 *
 * Built once for a model, its aim, and at most `images` images; all memory is taken then. Values and slopes (d loss /
 * d value) of the layers are maps (train/map.h); slopes, and without training values, share memory when they do not live
 * at the same time. A layer computes in the memory of its input where its kind allows it. What several layers send back
 * into one output is added in descending order of the layers.
 *
 * Every image is computed by itself: values, slopes and each patient's gradient have the same bits whatever else is in
 * the block. Private to train.
 */
#ifndef TRAIN_ENGINE_H
#define TRAIN_ENGINE_H

#include "base/arena.h"
#include "base/pool.h"
#include "train/graph.h"

/* --- weights as the kernels read them -------------------------------------------------------------------------- */

/* Shared by threads; read only while they compute. */
typedef struct nn_packed {
    const nn_model *m;
    const float *flat; /* borrowed; read by the other kinds */
    float *packed;     /* (n_pack) */
    float *transposed; /* (n_transposed) or NULL: for prediction */
    float *standard;   /* (n_standard): the weights of standardised convolutions */
    fl_arena arena;
} nn_packed;

fl_code nn_packed_init(nn_packed *p, const nn_model *m, bool is_training, fl_err *err) FL_MUST_USE;
void nn_packed_fini(nn_packed *p);
typedef enum nn_load {
    NN_LOAD_ALL,       /* what the aim needs */
    NN_LOAD_LEARNED,   /* the learned layers: the others are there from before */
    NN_LOAD_EVERYTHING /* whatever the aim */
} nn_load;
/* These weights (n_weights) from now on; they stay where they are while p is used. By all threads of pool (NULL: the
 * caller's). */
void nn_packed_load(nn_packed *p, const float *weights, nn_load load, fl_pool *pool);

/* --- a block of images ----------------------------------------------------------------------------------------- */

typedef struct nn_engine nn_engine;

/* How the gradients of large layers are made. */
typedef enum nn_way {
    NN_WAY_CHOSEN, /* for each layer by its shape */
    NN_WAY_KEPT,   /* all are kept until their norm is known */
    NN_WAY_TILES   /* convolutions and linear layers are made twice, in tiles: for the norm, and clipped */
} nn_way;

/* Some images of one patient, next to each other in the block, and that patient's gradient. */
typedef struct nn_share {
    uint32_t first, n; /* images of the block */
    bool is_start;     /* the patient's first images: the gradient starts here; else it goes on */
    bool is_end;       /* and its last: squares is its squared norm */
    bool is_whole;     /* g has room for every layer, and all of it is filled: for patients of several blocks */
    float *g;          /* packed: (nn_engine_kept) floats, or (n_packed) when is_whole */
    double squares;
} nn_share;

typedef struct nn_engine_terms {
    uint32_t images;  /* of a block, at most */
    bool is_training; /* backward will be called; else values live no longer than they are read */
    nn_way way;
    bool is_looking;  /* for explanations: every layer keeps its value, from the last layer back to layer `look_at` */
    uint32_t look_at; /* slopes are made, weights' gradients are not */
} nn_engine_terms;

fl_code nn_engine_create(nn_engine **out, const nn_model *m, const nn_engine_terms *terms, fl_err *err) FL_MUST_USE;
void nn_engine_destroy(nn_engine *e);
/* Bytes that create takes. */
size_t nn_engine_size(const nn_model *m, const nn_engine_terms *terms);
/* Floats of a share's gradient: without the layers that are made in tiles. The second before there is an engine. */
size_t nn_engine_kept(const nn_engine *e);
size_t nn_kept_size(const nn_model *m, const nn_engine_terms *terms);

/* The map that image i of the block is written to: (C, H, W), halo left alone. */
nn_map nn_engine_input(const nn_engine *e, uint32_t i);
void nn_engine_set_image(nn_engine *e, uint32_t i, const float *image /* (C, H, W) */);
/* The number for dropout of image i; 0 unless set. */
void nn_engine_set_key(nn_engine *e, uint32_t i, uint64_t key);

/* Does dropout drop? At first it does when training, not when looking. */
void nn_engine_drop(nn_engine *e, bool drops);

/* Layers [first, end) of images [0, n). */
void nn_engine_forward(nn_engine *e, const nn_packed *w, uint32_t n, uint32_t first, uint32_t end);
/* Layers from `first` on of image 0 by all threads of the pool: rows of large convolutions are shared out. The same bits. */
void nn_engine_forward_shared(nn_engine *e, const nn_packed *w, uint32_t first, fl_pool *pool);
/* Output of a layer for image i; valid until the next forward, without training only for the last layer. */
nn_map nn_engine_value(const nn_engine *e, uint32_t layer, uint32_t i);
nn_map nn_engine_slope(const nn_engine *e, uint32_t layer, uint32_t i);
/* The loss of image i, and its slope times scale at the layer the loss reads. */
double nn_engine_loss(nn_engine *e, uint32_t i, uint32_t label, float scale);
/* From the slopes of the loss: fills the shares' gradients and squares. After forward of layers up to n_run.
 * wants_squares false: gradients alone. */
void nn_engine_backward(nn_engine *e, const nn_packed *w, uint32_t n, nn_share *shares, uint32_t n_shares,
                        bool wants_squares);
/* sum (n_packed, modulo 2^32) += trunc(scale * gradient) of each share that is_end; squares[i] = the exact |z|^2. The block is still
 * the one of the last backward. */
void nn_engine_clip(nn_engine *e, int32_t *sum, const nn_share *shares, const float *scales, unsigned __int128 *squares,
                    uint32_t n_shares);

/* Zeros where gradients passed through: tiles, and what was added up on the way. The block is gone. */
void nn_engine_wipe(nn_engine *e);

/* The packed sums of all places (n_packed), added up, go to put in the order of the learned weights: each value once, by any
 * of the pool's threads. The sums are zero then. scratch: of each thread, NN_COLLECT_SCRATCH values. */
void nn_collect(const nn_model *m, const nn_collection *job, int32_t *const *scratch, fl_pool *pool);
/* A packed gradient in the order of the learned weights (n_learned). */
void nn_unpack(const nn_model *m, float *flat, const float *packed);

/* Real values of a map in the order (C, H, W), and back (padded channels become zero). */
void nn_map_read(float *chw, const nn_map *x);
void nn_map_write(const nn_map *x, const float *chw);

#endif
