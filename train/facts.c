#include "train/facts.h"
#include "base/encode.h"
#include "train/plan_check.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION, STUDY, PLAN_HASH, ROUND, SPEC, INPUT, CLASSES, LABELS };

static const char *const keys[NN_FACTS_KEYS] = {"cordon", "study", "plan_hash", "round",
                                                "spec",   "input", "classes",   "labels"};

const char nn_facts_preprocessing[] =
    "the grey levels v of the whole picture, at its native size: lo and hi are their 1st and 99th percentile; resized "
    "to "
    "the input's height and width (mean over the area where it shrinks, linear between pixel centres where it grows); "
    "then clamp(2 (v - lo) / (hi - lo) - 1, -1, 1), all zeros when lo = hi; every channel the same";

const char *nn_facts_key(uint32_t i)
{
    return keys[i];
}

void nn_facts_of(nn_facts *f, const nn_plan *plan, uint32_t round)
{
    *f = (nn_facts){.round = round,
                    .input = {plan->channels, plan->height, plan->width},
                    .n_classes = plan->n_classes,
                    .is_multi = plan->multi};
    memcpy(f->study, plan->name, sizeof f->study);
    fl_hex_encode(f->plan_hash, plan->hash.bytes, FL_HASH_SIZE);
    memcpy(f->classes, plan->classes, sizeof f->classes);
    memcpy(f->spec, plan->spec, sizeof f->spec);
}

void nn_facts_value(fl_buf *out, const nn_facts *f, uint32_t i)
{
    switch (i) {
    case VERSION:
        fl_buf_add_text(out, "1");
        break;
    case STUDY:
        fl_buf_add_text(out, f->study);
        break;
    case PLAN_HASH:
        fl_buf_add_text(out, f->plan_hash);
        break;
    case ROUND:
        fl_buf_printf(out, "%" PRIu32, f->round);
        break;
    case SPEC:
        fl_buf_add_text(out, f->spec);
        break;
    case INPUT:
        fl_buf_printf(out, "%" PRIu32 "x%" PRIu32 "x%" PRIu32, f->input.C, f->input.H, f->input.W);
        break;
    case CLASSES:
        for (uint32_t c = 0; c < f->n_classes; c++)
            fl_buf_printf(out, "%s%s", c ? "," : "", f->classes[c]);
        break;
    case LABELS:
        fl_buf_add_text(out, f->is_multi ? "multi" : "single");
        break;
    }
}

/* Digits up to `end`, at most 9 of them, no needless zero before them. */
static bool read_number(uint32_t *out, const char **at, char end)
{
    const size_t n = strspn(*at, "0123456789");
    if (n == 0 || n > 9 || (n > 1 && (*at)[0] == '0') || (*at)[n] != end)
        return false;
    *out = (uint32_t)strtoul(*at, NULL, 10);
    *at += n + (end != 0);
    return true;
}

static bool read_input(nn_shape *in, const char *text)
{
    return read_number(&in->C, &text, 'x') && read_number(&in->H, &text, 'x') && read_number(&in->W, &text, 0) &&
           (in->C == 1 || in->C == 3) && in->H >= 8 && in->H <= 1024 && in->W >= 8 && in->W <= 1024;
}

static bool read_classes(nn_facts *f, const char *text)
{
    f->n_classes = 0;
    for (;; text++) {
        const size_t n = strcspn(text, ",");
        if (f->n_classes == NN_PLAN_MAX_CLASSES || n == 0 || n >= sizeof f->classes[0])
            return false;
        memset(f->classes[f->n_classes], 0, sizeof f->classes[0]);
        memcpy(f->classes[f->n_classes], text, n);
        if (!nn_plan_is_text(f->classes[f->n_classes++], false))
            return false;
        text += n;
        if (!*text)
            return f->n_classes >= 2;
    }
}

static bool read_value(nn_facts *f, uint32_t i, const char *text)
{
    uint8_t hash[FL_HASH_SIZE];
    switch (i) {
    case VERSION:
        return strcmp(text, "1") == 0;
    case STUDY:
        snprintf(f->study, sizeof f->study, "%s", text);
        return nn_plan_is_name(text, sizeof f->study - 1);
    case PLAN_HASH:
        snprintf(f->plan_hash, sizeof f->plan_hash, "%s", text);
        return strlen(text) == 2 * FL_HASH_SIZE && fl_hex_decode(hash, sizeof hash, text);
    case ROUND:
        return read_number(&f->round, &text, 0);
    case SPEC:
        snprintf(f->spec, sizeof f->spec, "%s", text);
        return strlen(text) < sizeof f->spec && nn_plan_is_text(text, true);
    case INPUT:
        return read_input(&f->input, text);
    case CLASSES:
        return read_classes(f, text);
    case LABELS:
        f->is_multi = strcmp(text, "multi") == 0;
        return f->is_multi || strcmp(text, "single") == 0;
    }
    return false;
}

fl_code nn_facts_set(nn_facts *f, uint32_t i, const char *text, fl_err *err)
{
    if (!text)
        return fl_fail(err, FL_EFORMAT, "metadata: has no %s: this is not a model that Cordon exported", keys[i]);
    if (i == VERSION && strcmp(text, "1") != 0)
        return fl_fail(err, FL_EFORMAT, "metadata: cordon is %.20s, this program reads 1: use a newer program", text);
    if (!read_value(f, i, text))
        return fl_fail(err, FL_EFORMAT, "metadata: %s is not what it should be: %.60s", keys[i], text);
    return FL_OK;
}
