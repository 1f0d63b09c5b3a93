/* Studies to plans, plans to canonical JSON and back, what is refused and with which words. */
#include "base/encode.h"
#include "privacy/budget.h"
#include "privacy/rdp.h"
#include "train/counts.h"
#include "train/model.h"
#include "train/plan.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char study[] = "[study]\n"
                            "name = first\n"
                            "classes = normal, pneumonia\n"
                            "[input]\n"
                            "shape = 1x32x32\n"
                            "[model]\n"
                            "architecture = cnn-tiny\n"
                            "[rounds]\n"
                            "count = 60\n"
                            "quorum = 2\n"
                            "[server]\n"
                            "optimiser = momentum\n"
                            "learning_rate = 12.5\n"
                            "average = tail:0.5\n"
                            "[privacy]\n"
                            "epsilon = 8\n"
                            "delta = 1e-5\n"
                            "sampling_rate = 0.50\n"
                            "clip_norm = 0.2\n"
                            "mirror = yes\n"
                            "shift = 2\n";

static nn_plan from(const char *text)
{
    nn_plan p;
    fl_err err;
    if (nn_plan_from_study(&p, text, "a.ini", ".", &err) != FL_OK)
        fail_msg("%s", err.text);
    return p;
}

static fl_buf json_of(const nn_plan *p)
{
    fl_buf b;
    fl_err err;
    fl_buf_init(&b, NN_PLAN_MAX_BYTES);
    if (nn_plan_write(&b, p, &err) != FL_OK)
        fail_msg("%s", err.text);
    return b;
}

static void every_auto_becomes_a_number(void **state)
{
    (void)state;
    nn_plan p = from(study);
    assert_string_equal(p.delta, "0.00001");
    assert_string_equal(p.phases[0].sampling_rate, "0.5");
    assert_true(p.phases[0].rate == DP_RATE_ONE / 2);
    assert_int_equal(p.allowance_rounds, 3);
    assert_true(p.phases[0].clip_units >= 64 * sqrt(p.n_weights) && p.phases[0].clip_units < 128 * sqrt(p.n_weights));
    assert_int_equal(p.phases[0].local_steps, 1);
    assert_true(p.is_private && p.phases[0].mirror && p.phases[0].server == NN_SERVER_MOMENTUM &&
                p.phases[0].average == NN_AVERAGE_TAIL);
    assert_true(p.phases[0].server_momentum == 0.9 && p.phases[0].average_value == 0.5 &&
                p.phases[0].server_learning_rate == 12.5);
    assert_true(fabs(nn_phase_grid(&p.phases[0]) * p.phases[0].clip_units - 0.2) < 1e-15);
    /* the noise is enough for the rounds and the allowance, and a millionth less would not be */
    uint64_t micro;
    assert_true(dp_micro_parse(&micro, p.phases[0].noise_multiplier));
    assert_int_equal(p.phases[0].noise_variance, dp_variance_for((uint32_t)micro, p.phases[0].clip_units));
    dp_segment s = {0.5, (double)micro / 1e6, 63};
    assert_true(dp_epsilon_rdp(&s, 1, 1e-5, NULL) <= 8.0);
    s.sigma -= 2e-6;
    assert_true(dp_epsilon_rdp(&s, 1, 1e-5, NULL) > 8.0 - 1e-4);
    assert_int_equal(p.phases[0].probe, p.n_weights / 4 < 4096 ? (p.n_weights + 3) / 4 : 4096);
    assert_int_equal(nn_plan_update(&p, 1).coordinates, p.n_weights + p.phases[0].probe);
    /* the width holds the noise and two thousand patients who agree */
    double need = 12 * sqrt((double)p.phases[0].noise_variance) + 2000.0 * p.phases[0].clip_units;
    assert_true(need < ldexp(1, (int)p.phases[0].update_bits - 1));
}

static void the_seed_is_the_studys_text_or_its_own_key(void **state)
{
    (void)state;
    char other[2000];
    nn_plan a = from(study), b;
    snprintf(other, sizeof other, "%s\n# a remark\n", study);
    b = from(other);
    assert_true(a.seed != b.seed);
    assert_true(from(study).seed == a.seed);
    assert_memory_equal(&a.hash, &(nn_plan[]){from(study)}[0].hash, sizeof a.hash);
    snprintf(other, sizeof other, "[study]\nseed = 42\n%s", strchr(study, '\n') + 1);
    assert_true(from(other).seed == 42);
}

static void a_plan_survives_its_json_and_keeps_its_hash(void **state)
{
    (void)state;
    char other[2500];
    for (int variant = 0; variant < 4; variant++) {
        snprintf(other, sizeof other, "%s%s", study,
                 variant == 1   ? "noise_multiplier = 3.25\nallowance_rounds = 0\naugmentations = 3\n"
                 : variant == 2 ? "clip_units = 100000\n[local]\nlearning_rate = 0.0625\n"
                 : variant == 3 ? "noise_probe = 0\n"
                                : "");
        nn_plan p = from(other), back;
        fl_err err;
        fl_buf text = json_of(&p);
        if (nn_plan_parse(&back, (const char *)text.bytes, text.size, &err) != FL_OK)
            fail_msg("%s", err.text);
        /* without a probe it is the text of format 1, as it was before there were any */
        assert_true((strstr((char *)text.bytes, "\"format\":1,") != NULL) == (variant == 3));
        assert_true((strstr((char *)text.bytes, "\"probe\"") == NULL) == (variant == 3));
        fl_buf again = json_of(&back);
        assert_int_equal(text.size, again.size);
        assert_memory_equal(text.bytes, again.bytes, text.size);
        assert_memory_equal(&p, &back, sizeof p);
        fl_buf_fini(&text);
        fl_buf_fini(&again);
    }
}

static void no_other_text_than_the_canonical_one_is_a_plan(void **state)
{
    (void)state;
    nn_plan p = from(study), back;
    fl_err err;
    fl_buf text = json_of(&p);
    char *json = (char *)text.bytes, changed[NN_PLAN_MAX_BYTES + 2];
    for (size_t n = 0; n < text.size; n += 7)
        assert_int_equal(nn_plan_parse(&back, json, n, &err), FL_EFORMAT);
    snprintf(changed, sizeof changed, "%s ", json);
    assert_int_equal(nn_plan_parse(&back, changed, text.size + 1, &err), FL_EFORMAT);
    snprintf(changed, sizeof changed, " %s", json);
    assert_int_equal(nn_plan_parse(&back, changed, text.size + 1, &err), FL_EFORMAT);
    /* one letter changed: refused, or another plan with another hash that writes itself exactly so */
    for (size_t i = 0; i < text.size; i++) {
        char kept = json[i];
        json[i] = kept == '1' ? '2' : '1';
        if (nn_plan_parse(&back, json, text.size, &err) == FL_OK) {
            fl_buf again = json_of(&back);
            assert_memory_equal(again.bytes, json, text.size);
            assert_memory_not_equal(&back.hash, &p.hash, sizeof p.hash);
            fl_buf_fini(&again);
        } else {
            assert_int_equal(err.code, FL_EFORMAT);
        }
        json[i] = kept;
    }
    fl_buf_fini(&text);
}

/* Replaces the first `from` in the JSON by `to` and expects words in the refusal. */
static void refused_json(const char *from_text, const char *to, const char *words)
{
    nn_plan p = from(study), back;
    fl_err err = {0};
    fl_buf text = json_of(&p);
    char changed[NN_PLAN_MAX_BYTES];
    char *at = strstr((char *)text.bytes, from_text);
    assert_non_null(at);
    int n = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - (char *)text.bytes), (char *)text.bytes, to,
                     at + strlen(from_text));
    assert_int_equal(nn_plan_parse(&back, changed, (size_t)n, &err), FL_EFORMAT);
    if (!strstr(err.text, words))
        fail_msg("%s instead of %s: %s", to, from_text, err.text);
    fl_buf_fini(&text);
}

static void plans_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    refused_json("\"rounds\":60", "\"rounds\":70", "lets 6");
    refused_json("\"rounds\":60", "\"rounds\":0", "rounds is 0");
    refused_json("\"rounds\":60", "\"rounds\":\"60\"", "rounds is missing");
    refused_json("\"rounds\":60", "\"round\":60", "rounds is missing");
    refused_json("\"rounds\":60,", "", "members");
    refused_json("\"private\":true", "\"private\":false", "without privacy");
    refused_json("\"noise_multiplier\":\"", "\"noise_multiplier\":\"1", "noise_variance is not");
    refused_json("\"noise_variance\":", "\"noise_variance\":1", "noise_variance is not");
    refused_json("\"n_weights\":", "\"n_weights\":1", "the spec comes to");
    refused_json("\"epsilon\":\"8\"", "\"epsilon\":\"8.0\"", "canonical");
    refused_json("\"epsilon\":\"8\"", "\"epsilon\":\"7\"", "into epsilon 7");
    refused_json("\"epsilon\":\"8\"", "\"epsilon\":\"x\"", "epsilon is 'x'");
    refused_json("\"sampling_rate\":\"0.5\"", "\"sampling_rate\":\"0.6\"", "lets");
    refused_json("\"mirror\":true", "\"mirror\":1", "mirror");
    refused_json("\"server\":\"momentum\"", "\"server\":\"adam\"", "canonical");
    refused_json("\"strategy\":\"fedavg\"", "\"strategy\":\"median\"", "fedavg");
    refused_json("\"input\":[1,32,32]", "\"input\":[2,32,32]", "2 channels");
    refused_json("\"input\":[1,32,32]", "\"input\":[1,32]", "input is missing");
    refused_json("\"classes\":[\"normal\"", "\"classes\":[\"nor mal\"", "class 0");
    refused_json("\"classes\":[\"normal\"", "\"classes\":[\"pneumonia\"", "one name");
    refused_json("\"name\":\"first\"", "\"name\":\"a/b\"", "name is not");
    refused_json("\"format\":2", "\"format\":5", "reads 1 to 4");
    refused_json("\"schedule\":\"constant\"", "\"schedule\":\"step\"", "a step every 0 rounds never comes");
    refused_json("\"format\":2", "\"format\":3", "members");
    refused_json("\"format\":2", "\"format\":1", "members");
    refused_json("\"probe\":", "\"probe\":-", "probe");
    refused_json("\"probe\":", "\"probe\":1048577", "probe");
    refused_json("\"update_bits\":", "\"update_bits\":1", "update_bits");
    refused_json("\"quorum\":2", "\"quorum\":0", "quorum is 0");
}

/* The study with one line put behind another; valid until the next call. */
static const char *with_line(const char *behind, const char *line)
{
    static char text[3000];
    const char *at = strstr(study, behind);
    assert_non_null(at);
    const size_t n = (size_t)(at - study) + strlen(behind);
    snprintf(text, sizeof text, "%.*s%s\n%s", (int)n, study, line, study + n);
    return text;
}

static void refused_study(const char *behind, const char *line, const char *words)
{
    nn_plan p;
    fl_err err = {0};
    if (nn_plan_from_study(&p, with_line(behind, line), "a.ini", ".", &err) == FL_OK)
        fail_msg("%s was taken", line);
    if (!strstr(err.text, words) || !strstr(err.text, "a.ini"))
        fail_msg("%s: %s", line, err.text);
}

/* The same with a line replaced. */
static void replaced_study(const char *old, const char *line, const char *words)
{
    char text[3000], *at = strstr(study, old);
    nn_plan p;
    fl_err err = {0};
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - study), study, line, at + strlen(old));
    if (nn_plan_from_study(&p, text, "a.ini", ".", &err) == FL_OK)
        fail_msg("%s was taken", line);
    if (!strstr(err.text, words) || !strstr(err.text, "a.ini"))
        fail_msg("%s: %s", line, err.text);
}

static void studies_that_ask_for_what_is_not_there_are_refused_in_words(void **state)
{
    (void)state;
    refused_study("[rounds]\n", "cuont = 3", "did you mean count?");
    refused_study("[study]\n", "labels = both", "one of single|multi");
    refused_study("[model]\n", "pretrained = x.bin", "[model] pretrained");
    refused_study("[model]\n", "learn = head", "[model] learn: ");
    refused_study("shift = 2\n", "[local]\nloss = binary", "binary of labels = multi");
    refused_study("shift = 2\n", "[local]\nclass_weights = 1", "a number for each class");
    refused_study("shift = 2\n", "[local]\nclass_weights = 0, 0", "not all of them 0");
    refused_study("shift = 2\n", "[local]\nclass_weights = 1, -2", "a number for each class");
    refused_study("[rounds]\n", "strategy = krum", "use fedavg");
    refused_study("[rounds]\n", "count = 61", "second time");
    refused_study("[privacy]\n", "noise_multiplier = 0.5", "rounds into epsilon 8");
    refused_study("[privacy]\n", "noise_multiplier = 1.2345678", "6 decimals");
    refused_study("[privacy]\n", "clip_units = 1073741824", "a.ini");
    refused_study("[study]\n", "hospitals = A, A", "stands there twice");
    refused_study("[study]\n", "hospitals = A", "quorum");
    refused_study("[study]\n", "hospitals = A,, B", "hospitals: expected");
    replaced_study("optimiser = momentum", "optimiser = adamw", "one of sgd|momentum|adam");
    replaced_study("architecture = cnn-tiny", "architecture = alexnet",
                   "use cnn-small, cnn-tiny, cnn-tanh, linear, resnet18, wrn16-4, densenet, scattering, "
                   "scattering-drawn, scattering-cnn or file:PATH");
    replaced_study("architecture = cnn-tiny", "architecture = cnn-tny", "did you mean cnn-tiny?");
    replaced_study("architecture = cnn-tiny", "architecture = file:no-such-file.txt", "no-such-file.txt");
    replaced_study("shape = 1x32x32", "shape = 2x32x32", "1 or 3 channels");
    replaced_study("shape = 1x32x32", "shape = 32x32", "expected CxHxW");
    replaced_study("shape = 1x32x32", "shape = 1x32x32x", "expected CxHxW");
    replaced_study("architecture = cnn-tiny", "architecture = linear\n[input]\nshape = 1x8x8", "second time");
    replaced_study("shape = 1x32x32\n[model]\narchitecture = cnn-tiny",
                   "shape = 1x8x8\n[model]\narchitecture = file:" CORDON_SOURCE_DIR "/tests/data/train/too_large.txt",
                   "layer 1 (conv, input 1x8x8): kernel 9x9 is larger");
    replaced_study("classes = normal, pneumonia", "classes = normal", "2 to 32 names");
    replaced_study("classes = normal, pneumonia", "classes = a b, c", "class 0");
    replaced_study("average = tail:0.5", "average = tail", "expected none, ema:DECAY");
    replaced_study("average = tail:0.5", "average = tail:2", "above 0 and at most 1");
    replaced_study("average = tail:0.5", "average = ema:1", "below 1");
    replaced_study("name = first", "name = ../x", "letters, digits");
    replaced_study("sampling_rate = 0.50", "sampling_rate = 0", "sampling_rate");
    replaced_study("sampling_rate = 0.50", "sampling_rate = 1.5", "sampling_rate");
    replaced_study("epsilon = 8\n", "", "epsilon: is missing");
    replaced_study("epsilon = 8\n", "epsilon = 0.00001\n", "noise_multiplier");
    replaced_study("delta = 1e-5", "delta = 1", "delta");
    replaced_study("mirror = yes\nshift = 2\n", "augmentations = 4\n", "the same image");
}

static void schedules_stand_in_the_plan_when_there_are_some(void **state)
{
    (void)state;
    const nn_plan plain = from(study);
    static const struct {
        const char *lines, *json[4], *words;
        nn_schedule schedule;
        uint32_t every, warmup;
        double factor;
    } cases[] = {
        {"schedule = constant\nwarmup_rounds = 0",
         {"\"format\":2,", "\"schedule\":\"constant\""},
         "rate 12.5, the",
         NN_SCHEDULE_CONSTANT,
         0,
         0,
         0},
        {"schedule = cosine",
         {"\"format\":2,", "\"schedule\":\"cosine\""},
         "rate 12.5 that falls to 0 as a cosine, the",
         NN_SCHEDULE_COSINE,
         0,
         0,
         0},
        {"schedule = step:20:5e-1",
         {"\"format\":4,", "\"schedule\":\"step\",\"schedule_every\":20,\"schedule_factor\":\"0.5\"",
          "\"warmup_rounds\":0"},
         "rate 12.5 that is multiplied by 0.5 every 20 rounds, the",
         NN_SCHEDULE_STEP,
         20,
         0,
         0.5},
        {"warmup_rounds = 1",
         {"\"format\":4,", "\"schedule\":\"constant\",\"schedule_every\":0,\"schedule_factor\":\"0\"",
          "\"warmup_rounds\":1"},
         "rate 12.5 after a rise in a line over 1 round, the",
         NN_SCHEDULE_CONSTANT,
         0,
         1,
         0},
        {"warmup_rounds = 6\nschedule = step:1:0.9",
         {"\"schedule_every\":1,\"schedule_factor\":\"0.9\"", "\"warmup_rounds\":6"},
         "over 6 rounds, that is multiplied by 0.9 every 1 round, the",
         NN_SCHEDULE_STEP,
         1,
         6,
         0.9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        nn_plan p = from(with_line("[server]\n", cases[i].lines)), back;
        fl_err err;
        const nn_phase *m = &p.phases[0];
        assert_true(m->schedule == cases[i].schedule && m->schedule_every == cases[i].every &&
                    m->warmup_rounds == cases[i].warmup && m->schedule_factor == cases[i].factor);
        fl_buf text = json_of(&p), words;
        for (size_t k = 0; cases[i].json[k]; k++) {
            if (!strstr((char *)text.bytes, cases[i].json[k]))
                fail_msg("%s: no %s in %s", cases[i].lines, cases[i].json[k], (char *)text.bytes);
        }
        if (nn_plan_parse(&back, (const char *)text.bytes, text.size, &err) != FL_OK)
            fail_msg("%s", err.text);
        assert_memory_equal(&p, &back, sizeof p);
        fl_buf_init(&words, 1 << 16);
        nn_plan_explain(&words, &p);
        if (!strstr(fl_buf_text(&words), cases[i].words))
            fail_msg("%s: %s", cases[i].lines, fl_buf_text(&words));
        if (i ==
            0) { /* what is the default is no other plan: the text is the same but for the seed of the study's text */
            p.seed = plain.seed;
            fl_buf ours = json_of(&p), theirs = json_of(&plain);
            assert_string_equal((char *)ours.bytes, (char *)theirs.bytes);
            fl_buf_fini(&ours);
            fl_buf_fini(&theirs);
        }
        fl_buf_fini(&text);
        fl_buf_fini(&words);
    }
}

static void schedules_that_cannot_be_are_refused_in_words(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "linear",        "step",      "step:20",          "step:20:",    "step::0.5", "step:-1:0.5",
        "step:20:0.5:1", "step:20:x", "step:1234567:0.5", "Step:20:0.5", "cosine:3"};
    char line[100];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(line, sizeof line, "schedule = %s", wrong[i]);
        refused_study("[server]\n", line, "[server] schedule: expected constant, cosine or step:EVERY:FACTOR");
    }
    refused_study("[server]\n", "schedule = step:0:0.5", "a step every 0 rounds never comes");
    refused_study("[server]\n", "schedule = step:60:0.5", "a step every 60 rounds never comes in the 60 after");
    refused_study("[server]\n", "schedule = step:40:0.5\nwarmup_rounds = 20",
                  "never comes in the 40 after the warm-up");
    refused_study("[server]\n", "schedule = step:20:1", "the factor of a step is 1, expected above 0 and below 1");
    refused_study("[server]\n", "schedule = step:20:0", "the factor of a step is 0");
    refused_study("[server]\n", "warmup_rounds = 60", "warmup_rounds is 60, expected fewer than the 60 rounds");
    refused_study("[server]\n", "warmup_rounds = -1", "[server] warmup_rounds");
    refused_study("[model]\n", "pretrained_channels = refuse", "there is no pretrained file");
    refused_study("[model]\n", "pretrained_channels = mean", "one of sum|refuse");
}

static void read_corpus(char text[20000], const char *name, const char *ending)
{
    char path[4096];
    snprintf(path, sizeof path, CORDON_SOURCE_DIR "/fuzz/corpus/plan/%s.%s", name, ending);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, 19999, f)] = '\0';
    fclose(f);
}

/* One of each format, as the program wrote it when that format was new. Studies that run have these hashes in ledgers. */
static void plans_of_older_programs_keep_text_and_hash(void **state)
{
    (void)state;
    static const struct {
        const char *name, *hash;
        bool from_study; /* the study beside it still gives it: the others had no probe */
    } plans[] = {
        {"chest", "5aa8b31154140a5be43e1f1befdf21a79f65999f35895ab64805f02ec5d8184c", false},
        {"phantom", "22cef83a9960758ef090694f5164f0184f0a584f198c3efb6a256ee7a5056433", false},
        {"phases", "3f127a15071d26d5ccf3168dab56bd650fd6faefe4e8d2c1da1600ebc1625daf", true},
        {"schedules", "33e6ce8fa66fbff26234f6c108f7ada3ebef4737e14b42ff806fbd5d10691c69", true},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        char json[20000], ini[20000], hex[2 * FL_HASH_SIZE + 1];
        nn_plan p;
        fl_err err;
        read_corpus(json, plans[i].name, "json");
        if (nn_plan_parse(&p, json, strlen(json), &err) != FL_OK)
            fail_msg("%s: %s", plans[i].name, err.text);
        fl_hex_encode(hex, p.hash.bytes, FL_HASH_SIZE);
        assert_string_equal(hex, plans[i].hash);
        if (!plans[i].from_study)
            continue;
        read_corpus(ini, plans[i].name, "ini");
        p = from(ini);
        fl_buf text = json_of(&p);
        assert_string_equal((char *)text.bytes, json);
        fl_buf_fini(&text);
    }
}

static void a_spec_may_come_from_a_file_beside_the_study(void **state)
{
    (void)state;
    char dir[] = "/tmp/cordon-plan-XXXXXX", path[200], text[3000], *at = strstr(study, "cnn-tiny");
    nn_plan p;
    fl_err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/net.txt", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("# mine\navgpool 4\nlinear classes\n", f);
    fclose(f);
    snprintf(text, sizeof text, "%.*sfile:net.txt%s", (int)(at - study), study, at + strlen("cnn-tiny"));
    if (nn_plan_from_study(&p, text, "a.ini", dir, &err) != FL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(p.n_weights, 8 * 8 * 2 + 2);
    assert_string_equal(p.architecture, "file:net.txt");
    f = fopen(path, "w");
    fputs("linear \xc3\xa4\n", f);
    fclose(f);
    assert_int_equal(nn_plan_from_study(&p, text, "a.ini", dir, &err), FL_EFORMAT);
    f = fopen(path, "w");
    for (int i = 0; i < NN_PLAN_MAX_SPEC; i++)
        fputc('\n', f);
    fclose(f);
    assert_int_not_equal(nn_plan_from_study(&p, text, "a.ini", dir, &err), FL_OK);
    remove(path);
    remove(dir);
}

static void words_tell_the_cost_and_warn_of_too_many_weights(void **state)
{
    (void)state;
    nn_plan p = from(study);
    fl_buf words;
    fl_buf_init(&words, 1 << 16);
    nn_plan_explain(&words, &p);
    const char *text = fl_buf_text(&words), *at = strstr(text, "costs epsilon ");
    assert_non_null(at);
    double epsilon = atof(at + strlen("costs epsilon "));
    dp_segment s = {0.5, sqrt((double)p.phases[0].noise_variance) / p.phases[0].clip_units, 60};
    assert_true(fabs(epsilon - dp_epsilon_rdp(&s, 1, 1e-5, NULL)) < 0.02 && epsilon < 8);
    assert_null(strstr(text, "WARNING"));
    assert_non_null(strstr(text, "All hospitals together want about "));
    char slot[64]; /* who approves sees it: a plan with a slot of a millisecond would tell how long training took */
    snprintf(slot, sizeof slot, "at a whole multiple of %g s", p.slot_ms / 1000.0);
    assert_non_null(strstr(text, slot));
    char other[3000], *name = strstr(study, "cnn-tiny");
    snprintf(other, sizeof other, "[study]\npatients = 300\n%.*scnn-small%s", (int)(name - study - strlen("[study]\n")),
             study + strlen("[study]\n"), name + strlen("cnn-tiny"));
    p = from(other);
    fl_buf_clear(&words);
    nn_plan_explain(&words, &p);
    assert_non_null(strstr(fl_buf_text(&words), "WARNING"));
    fl_err err;
    fl_hash before = p.hash;
    assert_int_equal(nn_plan_drop_privacy(&p, &err), FL_OK);
    assert_memory_not_equal(&before, &p.hash, sizeof before);
    assert_true(!p.is_private && p.phases[0].noise_variance == 0);
    fl_buf_clear(&words);
    nn_plan_explain(&words, &p);
    assert_non_null(strstr(fl_buf_text(&words), "NO PRIVACY"));
    nn_plan back;
    fl_buf text_of = json_of(&p);
    assert_int_equal(nn_plan_parse(&back, (const char *)text_of.bytes, text_of.size, &err), FL_OK);
    fl_buf_fini(&text_of);
    fl_buf_fini(&words);
}

/* --- phases ---------------------------------------------------------------------------------------------------- */

static char spec_path[100];

static int make_spec(void **state)
{
    (void)state;
    char dir[] = "/tmp/cordon-plan-XXXXXX";
    if (!mkdtemp(dir))
        return -1;
    snprintf(spec_path, sizeof spec_path, "%s/net.txt", dir);
    FILE *f = fopen(spec_path, "w");
    if (!f)
        return -1;
    fputs("avgpool 4\nlinear 8 as centre\ntanh\nlinear classes as head\n", f);
    return fclose(f);
}

static int remove_spec(void **state)
{
    (void)state;
    remove(spec_path);
    *strrchr(spec_path, '/') = '\0';
    return remove(spec_path);
}

static const char centring[] =
    "[phase centring]\nlearn = centre\nloss = squares:centre\nsampling_rate = 1\nclip_norm = 1\n"
    "noise_multiplier = 4\n";

/* The study with that spec, the head alone learned in the main part, and these sections behind it. */
static const char *phased(const char *sections)
{
    static char text[6000];
    const char *at = strstr(study, "cnn-tiny");
    snprintf(text, sizeof text, "%.*sfile:%s\nlearn = head%s%s", (int)(at - study), study, spec_path,
             at + strlen("cnn-tiny"), sections);
    return text;
}

static void phases_have_terms_of_their_own(void **state)
{
    (void)state;
    const nn_plan p = from(phased(centring));
    assert_int_equal(p.n_phases, 2);
    assert_int_equal(p.rounds, 61);
    assert_int_equal(p.n_weights, 520 + 18);
    const nn_phase *c = nn_plan_phase(&p, 1), *m = nn_plan_phase(&p, 2);
    assert_true(nn_plan_phase(&p, 61) == m && m == &p.phases[1] && c == &p.phases[0]);
    assert_string_equal(c->name, "centring");
    assert_string_equal(m->name, "main");
    assert_true(c->first == 1 && c->rounds == 1 && c->n_learned == 520 && c->loss == NN_LOSS_SQUARES);
    assert_string_equal(c->loss_at, "centre");
    assert_true(m->first == 2 && m->rounds == 60 && m->n_learned == 18 && m->loss == NN_LOSS_SOFTMAX);
    assert_true(c->rate == DP_RATE_ONE && m->rate == DP_RATE_ONE / 2 && !c->mirror && m->mirror);
    assert_true(c->probe == 130 && m->probe == 5 && c->clip_units == 2048 && m->clip_units == 512);
    assert_true(nn_plan_update(&p, 1).coordinates == 650 && nn_plan_update(&p, 2).coordinates == 23);
    assert_true(fabs(nn_phase_grid(c) * c->clip_units - 1) < 1e-12);
    /* the noise of the main part is solved for what the centring leaves, with one of it lost */
    uint64_t micro;
    assert_true(dp_micro_parse(&micro, p.phases[1].noise_multiplier));
    dp_segment all[] = {{0.5, (double)micro / 1e6, 63}, {1, 4, 2}};
    assert_true(dp_epsilon_rdp(all, 2, 1e-5, NULL) <= 8);
    all[0].sigma -= 2e-6;
    assert_true(dp_epsilon_rdp(all, 2, 1e-5, NULL) > 8 - 1e-4);
    const nn_plan alone = from(phased(""));
    uint64_t without;
    assert_true(dp_micro_parse(&without, alone.phases[0].noise_multiplier) && without < micro);
}

static void a_plan_with_phases_survives_its_json(void **state)
{
    (void)state;
    static const char *const variants[] = {
        "[phase a]\nrounds = 3\nlearn = all\nclip_norm = 0.5\nnoise_multiplier = 9\noptimiser = adam\naverage = "
        "tail:0.5\n"
        "schedule = step:2:0.25\nwarmup_rounds = 0\nclipping = automatic\nmirror = yes\naugmentations = "
        "2\nlearning_rate = 5e-2\n",
        "[local]\nclass_weights = 1, 2.5\n[metrics]\nevery = 7\n", ""};
    for (size_t i = 0; i < 3; i++) {
        char sections[2000];
        snprintf(sections, sizeof sections, "%s%s", variants[i], i < 2 ? centring : "");
        nn_plan p = from(phased(sections)), back;
        fl_err err;
        fl_buf text = json_of(&p);
        assert_non_null(strstr((char *)text.bytes, i == 0 ? "\"format\":4," : "\"format\":3,"));
        if (nn_plan_parse(&back, (const char *)text.bytes, text.size, &err) != FL_OK)
            fail_msg("%s", err.text);
        assert_memory_equal(&p, &back, sizeof p);
        assert_int_equal(p.n_phases, i == 0 ? 3 : i == 1 ? 2 : 1);
        /* what stands in a phase is a part of the plan: another text is another plan or none */
        char *json = (char *)text.bytes;
        for (size_t k = 0; k < text.size; k++) {
            const char kept = json[k];
            json[k] = kept == '1' ? '2' : '1';
            if (nn_plan_parse(&back, json, text.size, &err) == FL_OK)
                assert_memory_not_equal(&back.hash, &p.hash, sizeof p.hash);
            json[k] = kept;
        }
        fl_buf words;
        fl_buf_init(&words, 1 << 16);
        nn_plan_explain(&words, &p);
        if (i < 2)
            assert_non_null(strstr(fl_buf_text(&words), "Phase centring, round"));
        assert_int_equal(nn_plan_drop_privacy(&p, &err), FL_OK);
        for (uint32_t k = 0; k < p.n_phases; k++)
            assert_int_equal(p.phases[k].noise_variance, 0);
        fl_buf_fini(&words);
        fl_buf_fini(&text);
    }
}

static void refused_phases(const char *sections, const char *words)
{
    nn_plan p;
    fl_err err = {0};
    if (nn_plan_from_study(&p, phased(sections), "a.ini", ".", &err) == FL_OK)
        fail_msg("%s was taken", sections);
    if (!strstr(err.text, words) || !strstr(err.text, "a.ini"))
        fail_msg("%s: %s", sections, err.text);
}

static void phases_that_cannot_be_are_refused_in_words(void **state)
{
    (void)state;
    char twice[600];
    refused_phases("[phase]\nrounds = 1\n", "expected [phase NAME]");
    refused_phases("[phase main]\nrounds = 1\n", "expected [phase NAME]");
    refused_phases("[phase a b]\nrounds = 1\n", "expected [phase NAME]");
    refused_phases("[phasing a]\nrounds = 1\n", "no such section");
    refused_phases("[phase a]\nrounds = 1\n", "[phase a] learn: is missing");
    refused_phases("[phase a]\nlaern = all\n", "did you mean learn?");
    refused_phases("[phase a]\nlearn = nothing\nclip_norm = 1\nnoise_multiplier = 4\n", "[phase a]: ");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = auto\n", "noise_multiplier");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = 4\nloss = squares:\n", "squares");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = 4\nloss = binary\n", "softmax if single");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = 4\nrounds = 3\nwarmup_rounds = 3\n",
                   "phase a: plan: warmup_rounds is 3, expected fewer than the 3 rounds");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = 4\nschedule = step\n",
                   "[phase a] schedule");
    refused_phases("[phase a]\nlearn = all\nclip_norm = 1\nnoise_multiplier = 0.1\n", "need more than 1000");
    snprintf(twice, sizeof twice, "%s%s", centring, centring);
    refused_phases(twice, "there is one already");
}

/* The configurations of the table in docs/accuracy.md, and those that came to nothing. */
static void a_plan_without_signal_is_told_from_one_with(void **state)
{
    (void)state;
    static const struct {
        const char *what, *sigma;
        double q;
        uint32_t learned, rounds, hospitals;
        uint64_t patients;
        bool has_signal;
    } plans[] = {
        {"chest, scattering, epsilon 8", "6.4637", 1, 13344, 100, 5, 2650, true},
        {"chest, scattering, epsilon 3", "15.4544", 1, 13344, 100, 5, 2650, true},
        {"chest, scattering, epsilon 1", "33.2838", 1, 13344, 60, 5, 2650, true},
        {"chest, scattering, q 0.3", "2.1506", 0.3, 13344, 100, 5, 2650, true},
        {"chest, tanh CNN, epsilon 8", "2.6373", 0.5, 46226, 60, 5, 2650, true},
        {"chest, tanh CNN, epsilon 3", "5.9395", 0.5, 46226, 60, 5, 2650, true},
        {"MNIST, epsilon 2.93", "3.5811", 0.1, 39690, 500, 5, 60000, true},
        {"chest, cnn-small, epsilon 8", "6.4637", 1, 241000, 100, 5, 2650, false},
        {"brain, scattering, epsilon 8", "6.4637", 1, 20016, 100, 4, 66, false},
        {"brain, linear, epsilon 8", "6.4637", 1, 3075, 100, 4, 66, false},
        {"brain, cnn-small, epsilon 8", "6.4637", 1, 241000, 100, 4, 66, false},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        nn_plan p = from(study);
        nn_phase *m = &p.phases[0];
        m->n_learned = plans[i].learned;
        m->rounds = plans[i].rounds;
        m->rate = (dp_rate)(plans[i].q * 18446744073709551616.0);
        m->clip_units = 100000;
        m->noise_variance = (uint64_t)pow(atof(plans[i].sigma) * 100000, 2);
        fl_buf words;
        fl_buf_init(&words, 4096);
        if (nn_plan_warn(&words, &p, plans[i].patients, plans[i].hospitals) == plans[i].has_signal)
            fail_msg("%s: %g", plans[i].what, nn_plan_signal(&p, plans[i].patients, plans[i].hospitals));
        assert_true((strstr(fl_buf_text(&words), "WARNING") == NULL) == plans[i].has_signal);
        const uint64_t needed = nn_plan_patients_needed(&p, plans[i].hospitals);
        assert_true(nn_plan_signal(&p, needed, plans[i].hospitals) >= NN_SIGNAL_LEAST &&
                    nn_plan_signal(&p, needed - 1, plans[i].hospitals) < NN_SIGNAL_LEAST);
        assert_true((plans[i].patients >= needed) == plans[i].has_signal);
        fl_buf_fini(&words);
    }
}

static void numbers_may_have_exponents(void **state)
{
    (void)state;
    char text[3000], *at = strstr(study, "clip_norm = 0.2");
    const nn_plan plain = from(study);
    snprintf(text, sizeof text, "[study]\nseed = %llu\n%.*sclip_norm = 2e-1%s", (unsigned long long)(plain.seed >> 12),
             (int)(at - study - strlen("[study]\n")), study + strlen("[study]\n"), at + strlen("clip_norm = 0.2"));
    const nn_plan p = from(text);
    assert_string_equal(p.phases[0].clip_norm, "0.2");
    assert_string_equal(p.phases[0].noise_multiplier, plain.phases[0].noise_multiplier);
}

static void the_sample_names_every_key(void **state)
{
    (void)state;
    fl_buf b;
    fl_buf_init(&b, 1 << 16);
    nn_study_sample(&b);
    assert_non_null(strstr(fl_buf_text(&b), "noise_multiplier"));
    assert_non_null(strstr(fl_buf_text(&b), "[server]"));
    fl_buf_fini(&b);
}

static void the_studies_of_this_repository_are_plans(void **state)
{
    (void)state;
    static const char *const names[] = {"chest.ini", "phantom.ini"};
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, CORDON_SOURCE_DIR "/studies/%s", names[i]);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        char text[20000];
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = '\0';
        fclose(f);
        nn_plan p;
        fl_err err;
        if (nn_plan_from_study(&p, text, path, CORDON_SOURCE_DIR "/studies", &err) != FL_OK)
            fail_msg("%s", err.text);
        assert_true(p.n_weights <= 10000);
        assert_true(atof(p.epsilon) <= 8 && atof(p.delta) <= 1e-5);
    }
}

/* Metrics and training share one budget: the solved noise leaves room for the metrics of every round, lost ones too. */
static void metrics_are_paid_from_the_same_budget(void **state)
{
    (void)state;
    char text[3000];
    const nn_plan off = from(study);
    assert_true(off.metrics_every == 0 && nn_counts_cells(&off) == 0);
    assert_string_equal(off.metrics_noise_multiplier, "0");
    snprintf(text, sizeof text, "%s[metrics]\nevery = 20\nwhat = histogram+classes+quality\n", study);
    const nn_plan p = from(text);
    assert_int_equal(nn_counts_partitions(&p), 4);
    assert_int_equal(nn_counts_cells(&p), 2 * 10 + 4 + 10);
    assert_int_equal(nn_counts_rounds(&p, 0), 4);
    assert_int_equal(nn_plan_update(&p, 1).cells, 34);
    assert_int_equal(nn_plan_update(&p, 2).cells, 0);
    uint64_t with = 0, without = 0, counts = 0;
    assert_true(dp_micro_parse(&with, p.phases[0].noise_multiplier) &&
                dp_micro_parse(&without, off.phases[0].noise_multiplier) &&
                dp_micro_parse(&counts, p.metrics_noise_multiplier));
    assert_true(with > without); /* a tenth of the budget is dear, and no more than a tenth */
    assert_true((double)with < 1.1 * (double)without);
    const dp_segment all[] = {{0.5, (double)with / 1e6, 63}, {1, sqrt((double)p.metrics_noise_variance), 4 * (4 + 3)}};
    assert_true(dp_epsilon_rdp(all, 2, 1e-5, NULL) <= 8.0);
    assert_true(dp_epsilon_rdp(all, 2, 1e-5, NULL) > 7.9);
    /* and the plan is refused when they no longer fit */
    fl_buf json = json_of(&p);
    char *at = strstr((char *)json.bytes, "\"metrics_every\":20"), changed[NN_PLAN_MAX_BYTES];
    nn_plan back;
    fl_err err = {0};
    assert_non_null(at);
    assert_int_equal(nn_plan_parse(&back, (const char *)json.bytes, json.size, &err), FL_OK);
    assert_memory_equal(&p, &back, sizeof p);
    int n = snprintf(changed, sizeof changed, "%.*s\"metrics_every\":1%s", (int)(at - (char *)json.bytes),
                     (char *)json.bytes, at + strlen("\"metrics_every\":20"));
    assert_int_equal(nn_plan_parse(&back, changed, (size_t)n, &err), FL_EFORMAT);
    assert_non_null(strstr(err.text, "rounds into epsilon 8"));
    fl_buf_fini(&json);

    nn_plan open = p;
    assert_int_equal(nn_plan_drop_privacy(&open, &err), FL_OK);
    assert_true(open.metrics_every == 0 && nn_counts_cells(&open) == 0);
    fl_buf words;
    fl_buf_init(&words, 1 << 16);
    nn_plan_explain(&words, &p);
    assert_non_null(strstr(fl_buf_text(&words), "noised counts"));
    fl_buf_fini(&words);
}

static void wrong_metrics_are_refused(void **state)
{
    (void)state;
    refused_study("shift = 2\n", "[metrics]\nevery = 5\nwhat = classes+histogram", "[metrics] what");
    refused_study("shift = 2\n", "[metrics]\nevery = 5\nwhat = losses", "[metrics] what");
    refused_study("shift = 2\n", "[metrics]\nevery = 5\nbins = 1", "[metrics] bins");
    refused_study("shift = 2\n", "[metrics]\nevery = 5\nnoise_multiplier = 1", "[metrics] noise_multiplier");
    refused_study("shift = 2\n", "[metrics]\nevery = 1\nnoise_multiplier = 3",
                  "what else the plan releases need more than 1000");
    refused_json("\"metrics_every\":0", "\"metrics_every\":5", "metrics_bins is 0");
    refused_json("\"metrics_bins\":0", "\"metrics_bins\":5", "metrics that it never releases");
    refused_json("\"metrics_what\":\"\"", "\"metrics_what\":\"classes\"", "metrics that it never releases");
    refused_json("\"metrics_noise_multiplier\":\"0\"", "\"metrics_noise_multiplier\":\"5\"", "never releases");
    refused_json("\"metrics_noise_variance\":0", "\"metrics_noise_variance\":25", "never releases");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_auto_becomes_a_number),
        cmocka_unit_test(the_seed_is_the_studys_text_or_its_own_key),
        cmocka_unit_test(a_plan_survives_its_json_and_keeps_its_hash),
        cmocka_unit_test(no_other_text_than_the_canonical_one_is_a_plan),
        cmocka_unit_test(plans_that_contradict_themselves_are_refused),
        cmocka_unit_test(studies_that_ask_for_what_is_not_there_are_refused_in_words),
        cmocka_unit_test(schedules_stand_in_the_plan_when_there_are_some),
        cmocka_unit_test(schedules_that_cannot_be_are_refused_in_words),
        cmocka_unit_test(plans_of_older_programs_keep_text_and_hash),
        cmocka_unit_test(a_spec_may_come_from_a_file_beside_the_study),
        cmocka_unit_test(words_tell_the_cost_and_warn_of_too_many_weights),
        cmocka_unit_test(the_sample_names_every_key),
        cmocka_unit_test(the_studies_of_this_repository_are_plans),
        cmocka_unit_test(metrics_are_paid_from_the_same_budget),
        cmocka_unit_test(wrong_metrics_are_refused),
        cmocka_unit_test(phases_have_terms_of_their_own),
        cmocka_unit_test(a_plan_with_phases_survives_its_json),
        cmocka_unit_test(phases_that_cannot_be_are_refused_in_words),
        cmocka_unit_test(a_plan_without_signal_is_told_from_one_with),
        cmocka_unit_test(numbers_may_have_exponents),
    };
    return cmocka_run_group_tests(tests, make_spec, remove_spec);
}
