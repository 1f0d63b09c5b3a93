/*
 * nn_facts - what a model file says about itself: enough to predict with it, without the study it came from.
 *
 * Safetensors carry them in __metadata__, ONNX files in metadata_props; all values are text:
 *
 *     cordon      "1": the version of these keys; another one is refused
 *     study       name of the study
 *     plan_hash   64 hexadecimal digits, SHA-256 of the plan
 *     round       rounds that went into the weights, decimal
 *     spec        the layers, train/model.h
 *     input       "1x64x64": channels, height, width; made of a picture by imaging/resize.h
 *     classes     names, joined by commas: output c belongs to class c
 *     labels      "single": one class for each image, probabilities are the softmax of the outputs
 *                 "multi":  any number of classes, probabilities are the logistic function of each output
 *
 * Readers ignore other keys.
 */
#ifndef TRAIN_FACTS_H
#define TRAIN_FACTS_H

#include "train/model.h"
#include "train/plan.h"

#define NN_FACTS_KEYS 8

typedef struct nn_facts {
    char study[64];
    char plan_hash[2 * FL_HASH_SIZE + 1];
    uint32_t round;
    nn_shape input;
    bool is_multi;
    uint32_t n_classes;
    char classes[NN_PLAN_MAX_CLASSES][32];
    char spec[NN_PLAN_MAX_SPEC];
} nn_facts;

/* The way from a picture to the input, in words: a constant. */
extern const char nn_facts_preprocessing[];

void nn_facts_of(nn_facts *f, const nn_plan *plan, uint32_t round);

/* Key i < NN_FACTS_KEYS; its value is appended to out. */
const char *nn_facts_key(uint32_t i);
void nn_facts_value(fl_buf *out, const nn_facts *f, uint32_t i);

/* The other way, for key i; text NULL: the file has no such key. A value that is missing or not as above is FL_EFORMAT.
 * Whether the spec is one is found when the model is built. */
fl_code nn_facts_set(nn_facts *f, uint32_t i, const char *text, fl_err *err) FL_MUST_USE;

#endif
