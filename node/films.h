/*
 * node_films - image files that people name: found in folders, decoded in the sandboxed child, made the input of a model.
 *
 * Used by `data add` to find files, and by predict, evaluate and explain, which need no node: pixels go through the model
 * and are forgotten; pseudonyms are under a key of 32 random bytes that ends with the command. Names of files go to the terminal, or
 * to the file that a person named on the command line, never into an fl_err.
 */
#ifndef NODE_FILMS_H
#define NODE_FILMS_H

#include "base/pool.h"
#include "imaging/image.h"
#include "train/dataset.h"
#include "train/safetensors.h"
#include <stdio.h>

typedef struct node_film {
    char *path; /* as the user would write it */
    char *real; /* absolute, links resolved */
    bool base_is_unique;
} node_film;

typedef struct node_film_list {
    node_film *list; /* in the order of the paths, in a folder in that of the names */
    size_t n, capacity;
    uint32_t n_hidden; /* names in folders that begin with a dot, left alone */
} node_film_list;

/* Files, and what lies in folders, but for the file `except` (absolute; may be NULL) and, if no_tables, files in folders
 * that are called *.csv. FL_ENOTFOUND: no such file or folder. */
fl_code node_film_list_find(node_film_list *l, char *const *paths, size_t n_paths, const char *except, bool no_tables,
                            fl_err *err) FL_MUST_USE;
void node_film_list_fini(node_film_list *l);

void node_print_path(FILE *out, const char *path); /* control characters become '?' */
/* What a decoder's message says behind the path it begins with. */
const char *node_film_reason(const fl_err *e, const char *path);

/* ---- reading, without a node ------------------------------------------------------------------------------------- */

typedef struct node_films {
    node_film_list files;
    img_decoder *decoder;
    uint8_t key[32]; /* of this command's pseudonyms */
} node_films;

/* allow: what the policy of a node would say in [images]: "burned_in", "ultrasound", "capture", joined by commas; NULL:
 * nothing. FL_EFORMAT: another word, or no files at all. */
fl_code node_films_open(node_films *f, char *const *paths, size_t n_paths, const char *except, const char *allow,
                        fl_err *err) FL_MUST_USE;
void node_films_close(node_films *f);
/* FL_EREFUSED, FL_EFORMAT: this file is not taken, and reason says why, without its name. FL_EENV: nothing goes on. */
fl_code node_films_read(node_films *f, size_t i, img_image *out, fl_err *reason) FL_MUST_USE;

/* ---- through a model ----------------------------------------------------------------------------------------------- */

#define NODE_FILM_BATCH 64

/* Up to NODE_FILM_BATCH images at a time, prepared as for training (imaging/resize.h). */
typedef struct node_film_batch {
    const nn_model_file *model;
    fl_pool *pool;
    nn_dataset inputs; /* each image a patient of its own */
    float *image;
    float *probabilities; /* (NODE_FILM_BATCH, classes), of the last run */
} node_film_batch;

fl_code node_film_batch_open(node_film_batch *b, const nn_model_file *model, fl_pool *pool, fl_err *err) FL_MUST_USE;
void node_film_batch_close(node_film_batch *b);
fl_code node_film_batch_add(node_film_batch *b, const img_image *image, fl_err *err) FL_MUST_USE;
/* The images leave the batch; their probabilities stay until the next run. */
fl_code node_film_batch_run(node_film_batch *b, fl_err *err) FL_MUST_USE;

/* A model file for a person's machine: read, and aimed at its kind of labels (train/predict.h). */
fl_code node_model_open(nn_model_file *f, const char *path, fl_err *err) FL_MUST_USE;

#endif
