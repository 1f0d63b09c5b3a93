/*
 * What a model is made of, for the files that compute with it. Private to train.
 *
 * A packed gradient holds the learned layers one after another, each at learned[i].packed_at, in whole vectors of 16
 * floats: convolutions and linear layers in the order of train/convolution.h, other kinds as in the flat vector and zeros.
 */
#ifndef TRAIN_GRAPH_H
#define TRAIN_GRAPH_H

#include "train/convolution.h"
#include "train/spec.h"

/* What the engine knows of a layer besides its line. */
typedef struct nn_node {
    nn_convolution conv; /* of conv and linear */
    bool is_conv;        /* computed by conv, not by its kind */
    bool has_slope;      /* something learned lies at or before it: a gradient reaches it */
    size_t packed_at;    /* learned: where its part of a packed gradient starts, and how long it is */
    size_t n_packed;
    size_t learned_at;    /* and of the vector of learned weights */
    size_t weights_at;    /* conv: its packed weights, in nn_packed */
    size_t transposed_at; /* and those for the input gradient */
    size_t standard_at;   /* standardised: what is packed, flat, in nn_packed */
} nn_node;

struct nn_model {
    nn_spec spec;
    nn_node nodes[NN_MAX_LAYERS];
    uint32_t first_learned; /* nothing before it is learned */
    uint32_t n_run;         /* layers up to the one whose output the loss reads */
    nn_loss_kind loss;
    float *class_weights; /* (n_classes) or NULL */
    size_t n_learned;     /* weights */
    size_t n_packed;      /* floats of a packed gradient */
    size_t n_pack;        /* floats of the packed weights of all layers */
    size_t n_transposed;  /* and of those for the input gradients */
    size_t n_standard;    /* and of the weights of standardised convolutions, flat */
};

#endif
