/*
 * nn_plan - what a consortium asks hospitals to run, as data: architecture, optimiser, rounds, privacy terms.
 *
 * A study is the INI a person writes; the plan is its canonical JSON with every `auto` resolved. The JSON travels, and
 * plan_hash (SHA-256 of the JSON text) is what a person at the hospital approves. Every number that decides bits or
 * privacy is an integer or an exact decimal text in the plan; doubles are read from those texts once.
 *
 * format is 1, or 2 when the plan has a probe or metrics, or 3 when it has something of what came after: more phases than
 * one, sets of labels, class weights, automatic clipping, frozen layers, a pretrained start, adam; 4 when the learning rate
 * falls in steps or warms up, or a pretrained start may not be summed over channels. A plan keeps the text and hash that it
 * had when it was made.
 *
 * A plan runs its phases one after another; the last one is called main. A phase has terms of its own (what is learned,
 * with which loss, clip, noise and optimiser), and all of them share one budget: the plan's epsilon is that of all rounds
 * together. rounds counts the rounds of all phases.
 *
 * Parsing is strict: an unknown member, a missing one, a value out of range or a text that is not canonical is
 * FL_EFORMAT; parse(text) followed by write gives the same text.
 */
#ifndef TRAIN_PLAN_H
#define TRAIN_PLAN_H

#include "base/buf.h"
#include "base/file.h"
#include "base/object.h"
#include "privacy/sample.h"
#include "privacy/update.h"
#include "train/model.h"
#include "train/pretrained.h"

#define NN_PLAN_MAX_BYTES   16384
#define NN_PLAN_MAX_CLASSES 32
#define NN_PLAN_MAX_SPEC    4096
#define NN_PLAN_MAX_SITES   256

typedef char nn_decimal[24]; /* exact decimal text, at most 6 digits after the point where privacy reads it */

typedef enum nn_server_kind { NN_SERVER_SGD, NN_SERVER_MOMENTUM, NN_SERVER_ADAM } nn_server_kind;
typedef enum nn_schedule {
    NN_SCHEDULE_CONSTANT,
    NN_SCHEDULE_COSINE,
    NN_SCHEDULE_STEP
} nn_schedule; /* train/server.h */
typedef enum nn_average { NN_AVERAGE_NONE, NN_AVERAGE_EMA, NN_AVERAGE_TAIL } nn_average;

typedef enum nn_clipping {
    NN_CLIP_FLAT,      /* g min(1, C / |g|): privacy/clip.h */
    NN_CLIP_AUTOMATIC, /* g C / (|g| + 0.01): Bu, Wang, Zha, Karypis 2023, AUTO-S */
} nn_clipping;

#define NN_PLAN_MAX_PHASES 8
#define NN_PLAN_MAIN       "main"
#define NN_PLAN_MAX_LEARN  256

/* The terms of some rounds in a row. */
typedef struct nn_phase {
    char name[32];          /* the last one's is main */
    uint32_t first, rounds; /* rounds first .. first + rounds - 1 of the plan, counted from 1 */
    uint32_t local_steps;
    char learn[NN_PLAN_MAX_LEARN]; /* "all", or names of layers, separated by commas: nn_aim, train/model.h */
    uint32_t n_learned;            /* coordinates of a gradient and of an update without its probe */
    nn_loss_kind loss;
    char loss_at[32]; /* of squares: the layer; else "" */
    nn_decimal sampling_rate, noise_multiplier, clip_norm;
    dp_rate rate;            /* floor(sampling_rate * 2^64) */
    uint32_t clip_units;     /* R */
    uint64_t noise_variance; /* S^2, grid units squared */
    nn_clipping clipping;
    uint32_t augmentations; /* images made of each image in a step, each at random; 1 unless mirror or shift */
    uint32_t shift;         /* they are shifted by up to so many pixels each way */
    bool mirror;            /* and mirrored left and right, with probability 1/2 */
    double local_learning_rate;
    nn_server_kind server;
    double server_learning_rate, server_momentum, server_weight_decay;
    nn_schedule schedule;
    uint32_t schedule_every; /* of steps: rounds between them, and the factor of each; else 0 */
    double schedule_factor;
    uint32_t warmup_rounds; /* before the schedule begins: the rate rises to it in a line */
    nn_average average;
    double average_value; /* EMA decay, or the tail's fraction */
    uint32_t update_bits; /* width of one packed value of an update: 16, 24, 32, 40 or 48 */
    uint32_t probe;       /* integers of an update that belong to no weight: privacy/update.h */
} nn_phase;

typedef struct nn_plan {
    char name[64]; /* [A-Za-z0-9._-] */
    uint32_t n_classes;
    char classes[NN_PLAN_MAX_CLASSES][32];
    uint32_t n_sites; /* 0: all enrolled hospitals */
    char sites[NN_PLAN_MAX_SITES][64];
    uint32_t channels, height, width; /* input, 1 or 3 x 8..1024 x 8..1024 */
    char architecture[64];
    char spec[NN_PLAN_MAX_SPEC]; /* the layers, as text: train/model.h */
    uint32_t n_weights;          /* what the spec comes to; checked when parsed */
    uint32_t rounds, quorum, deadline_s;
    uint32_t slot_ms; /* updates leave at whole multiples of this after the announce */
    /* privacy terms; private == false is allowed in the simulator alone */
    bool is_private;
    nn_decimal epsilon, delta;
    uint32_t renyi_order;      /* the order the noise was solved at */
    uint32_t allowance_rounds; /* burned rounds of main that the solved noise leaves room for */
    /* noised counts that travel in updates: train/counts.h. every 0: none, and the others are 0, "0" (format 1: "") */
    uint32_t metrics_every, metrics_bins;
    bool metrics_histogram, metrics_classes, metrics_quality;
    nn_decimal metrics_noise_multiplier;
    uint64_t metrics_noise_variance; /* S^2 of each cell */
    uint64_t seed;                   /* public: initial weights, augmentation */
    /* format 3; before: false, "", no class weights, one phase */
    bool multi;                                /* an image has a set of classes: its label is a bit set */
    double class_weights[NN_PLAN_MAX_CLASSES]; /* factors of the loss; all 1 unless said */
    char initial[2 * FL_HASH_SIZE + 1]; /* SHA-256 of the file of weights that training starts from; "": the seed */
    nn_channels pretrained_channels;    /* how that file is taken: train/pretrained.h */
    uint64_t patients; /* about how many all hospitals have together, as the study expects; 0: it does not say */
    uint32_t n_phases; /* at least 1 */
    nn_phase phases[NN_PLAN_MAX_PHASES];
    fl_hash hash; /* SHA-256 of the canonical text */
} nn_plan;

/* study INI text -> plan. Solves noise_multiplier = auto, clip_units and update_bits. path_dir: where file:PATH specs
 * are looked for. Errors name the line and the key. seed comes from [study] seed, default: the first 8 bytes of the
 * SHA-256 of the study's text. */
fl_code nn_plan_from_study(nn_plan *plan, const char *text, const char *name, const char *path_dir,
                           fl_err *err) FL_MUST_USE;
/* Where the study's [model] pretrained file is; "" when it has none. */
fl_code nn_study_pretrained(char path[FL_PATH_MAX], const char *text, const char *name, const char *path_dir,
                            fl_err *err) FL_MUST_USE;
/* [simulation] declared: the patients that each hospital's policy would declare, when a study runs on one machine
 * (`cordon-sim`); no part of the plan. *n is 0 when the study does not say. */
typedef struct nn_declared {
    char hospital[64];
    uint64_t patients;
} nn_declared;
fl_code nn_study_declared(nn_declared list[NN_PLAN_MAX_SITES], uint32_t *n, const char *text, const char *name,
                          fl_err *err) FL_MUST_USE;
/* [simulation] privacy = no: what `cordon-sim federate` does without noise and ledgers. No part of the plan. */
fl_code nn_study_is_open(bool *is_open, const char *text, const char *name, fl_err *err) FL_MUST_USE;
/* The commented sample of a study: every key with its sentence, range and default. */
void nn_study_sample(fl_buf *out);
fl_code nn_plan_parse(nn_plan *plan, const char *json, size_t n, fl_err *err) FL_MUST_USE;
fl_code nn_plan_write(fl_buf *json, const nn_plan *plan, fl_err *err) FL_MUST_USE;
/* In plain words, for the person who approves it: a paragraph per topic. Includes the epsilon of the whole schedule, and a
 * warning when the plan expects too few patients. */
void nn_plan_explain(fl_buf *out, const nn_plan *plan);
/* The same plan without noise, for the baselines of the simulator: is_private false, noise_variance 0, another hash.
 * A node refuses such a plan. */
fl_code nn_plan_drop_privacy(nn_plan *plan, fl_err *err) FL_MUST_USE;
/* What a hospital sends in this round, from 1 to rounds: always so many bytes. */
dp_update_shape nn_plan_update(const nn_plan *plan, uint32_t round);
/* Renyi cost at order a of the noised counts of `releases` rounds; 0 without metrics. */
double nn_plan_metrics_rdp(const nn_plan *plan, uint32_t releases, unsigned order);
/* The phase that a round belongs to; round from 1, at most plan->rounds. It lives as long as the plan. */
const nn_phase *nn_plan_phase(const nn_plan *plan, uint32_t round);
const nn_phase *nn_plan_main(const nn_plan *plan); /* the last one */
/* What follows from the rest: which rounds are whose (main has those that the other phases leave), main's name, that it learns
 * everything and all classes count alike where nothing is said; n_phases 0 is 1. For who fills a plan by hand, tests mostly;
 * parse and from_study do it themselves. */
void nn_plan_settle(nn_plan *plan);
/* Makes the model learn what the phase learns, with its loss and the plan's class weights. */
fl_code nn_plan_aim(nn_model *m, const nn_plan *plan, const nn_phase *phase, fl_err *err) FL_MUST_USE;
double nn_phase_grid(const nn_phase *phase); /* gamma = clip_norm / clip_units */
/*
 * How much signal a private plan leaves, before it starts. One step's sum over h hospitals holds noise of length
 * (S/R) C sqrt(d h), d the learned weights; the mean over all T = rounds * local_steps steps sqrt(T) times less. What n
 * patients can put in is q n C, if all their clipped gradients agree; how far they do is not known before, and the more
 * weights there are for each patient the less: a = min(1, sqrt(n / d)). So the expected ratio is
 *
 *     a q n C / ((S/R) C sqrt(d h / T))
 *
 * of the last phase. a is a rule of thumb; the ratio tells apart what was measured on radiographs (docs/accuracy.md):
 * fixed features with a linear head learn at 7.1 (epsilon 8), 3.0 (3) and 1.1 (1), a small CNN at 1.9 (8) and 0.9 (3), cnn-small
 * with its 241 k weights does not at 0.4 (8). 66 patients (brain) come to 0.02. NN_SIGNAL_LEAST lies between.
 *
 * n_hospitals 0: as many as the plan names, or its quorum. Infinite without privacy.
 */
#define NN_SIGNAL_LEAST 0.6
double nn_plan_signal(const nn_plan *plan, uint64_t patients, uint32_t n_hospitals);
/* From how many on it is NN_SIGNAL_LEAST; at most 2^30. */
uint64_t nn_plan_patients_needed(const nn_plan *plan, uint32_t n_hospitals);
/* Appends one line that says so when a plan leaves less than NN_SIGNAL_LEAST; patients 0: not known, nothing is said. */
bool nn_plan_warn(fl_buf *out, const nn_plan *plan, uint64_t patients, uint32_t n_hospitals);

#endif
