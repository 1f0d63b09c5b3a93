/* The coordinator's step against its formula written out, and its state as bytes. */
#include "base/encode.h"
#include "crypto/hash.h"
#include "train/dpsgd.h"
#include "train/server.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static nn_plan a_plan(void)
{
    nn_plan p = {.n_classes = 2,
                 .channels = 1,
                 .height = 8,
                 .width = 8,
                 .n_weights = 130,
                 .rounds = 8,
                 .seed = 3,
                 .hash = {{1, 2, 3}},
                 .n_phases = 1,
                 .phases = {{.local_steps = 1,
                             .local_learning_rate = 0.5,
                             .server = NN_SERVER_MOMENTUM,
                             .server_learning_rate = 3,
                             .server_momentum = 0.8,
                             .server_weight_decay = 0.01,
                             .clip_units = 1000}}};
    fl_err err;
    strcpy(p.spec, "linear classes");
    strcpy(p.phases[0].clip_norm, "0.5");
    assert_int_equal(dp_rate_parse(&p.phases[0].rate, "0.25", &err), FL_OK);
    return p;
}

static nn_server a_server(nn_plan *p)
{
    nn_server s;
    fl_err err;
    nn_plan_settle(p);
    if (nn_server_init(&s, p, NULL, 0, NULL, &err) != FL_OK)
        fail_msg("%s", err.text);
    return s;
}

static void some_sum(int64_t *sum, size_t n, uint32_t round)
{
    for (size_t i = 0; i < n; i++)
        sum[i] = (int64_t)(i * 7919 + round * 104729) % 2001 - 1000;
}

static void run(nn_server *s, const nn_plan *p, uint32_t from, uint32_t to)
{
    int64_t sum[130];
    fl_err err;
    for (uint32_t r = from; r < to; r++) {
        some_sum(sum, 130, r);
        assert_int_equal(nn_server_apply(s, p, sum, 40, r, &err), FL_OK);
    }
}

static void the_step_is_its_formula(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        nn_plan p = a_plan();
        p.phases[0].server = variant & 1 ? NN_SERVER_SGD : NN_SERVER_MOMENTUM;
        p.phases[0].schedule = variant & 2 ? NN_SCHEDULE_COSINE : NN_SCHEDULE_CONSTANT;
        nn_server s = a_server(&p);
        double w[130], m[130] = {0};
        int64_t sum[130];
        for (int i = 0; i < 130; i++)
            w[i] = nn_server_model(&s)[i];
        for (uint32_t r = 0; r < 8; r++) {
            double lr = 3 * 0.5 * (variant & 2 ? (1 + cos(acos(-1) * r / 8)) / 2 : 1);
            some_sum(sum, 130, r);
            for (int i = 0; i < 130; i++) {
                double gradient = 0.5 / 1000 * (double)sum[i] / (0.25 * 40);
                m[i] = (variant & 1 ? 0 : 0.8) * m[i] + gradient;
                w[i] = w[i] - lr * m[i] - lr * 0.01 * w[i];
            }
        }
        run(&s, &p, 0, 8);
        for (int i = 0; i < 130; i++)
            assert_true(fabs(nn_server_model(&s)[i] - w[i]) < 1e-6 * (1 + fabs(w[i])));
        nn_server_fini(&s);
    }
}

/* One weight, gradient 1 in every round: it falls by the round's learning rate. */
static void rates_are(nn_plan p, const double *expected)
{
    p.phases[0].server = NN_SERVER_SGD;
    p.phases[0].server_weight_decay = 0;
    nn_server s = a_server(&p);
    fl_err err;
    for (uint32_t r = 0; r < 8; r++) {
        int64_t sum[130] = {[7] = 20000}; /* gradient = sum 0.5 / 1000 / (0.25 40) */
        s.w[7] = 0;
        assert_int_equal(nn_server_apply(&s, &p, sum, 40, r, &err), FL_OK);
        if (!(fabs(s.w[7] + 1.5 * expected[r]) < 1e-6))
            fail_msg("round %u: %.9g of 1.5, expected %.9g", r, -s.w[7], 1.5 * expected[r]);
    }
    nn_server_fini(&s);
}

static void the_learning_rate_follows_its_schedule(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    nn_plan_settle(&p);
    nn_phase *m = &p.phases[0];
    m->schedule = NN_SCHEDULE_STEP;
    m->schedule_every = 3, m->schedule_factor = 0.25;
    rates_are(p, (double[]){1, 1, 1, 0.25, 0.25, 0.25, 0.0625, 0.0625});
    m->warmup_rounds = 3; /* the steps are counted from the end of the warm-up */
    rates_are(p, (double[]){0.25, 0.5, 0.75, 1, 1, 1, 0.25, 0.25});
    m->schedule = NN_SCHEDULE_CONSTANT;
    rates_are(p, (double[]){0.25, 0.5, 0.75, 1, 1, 1, 1, 1});
    m->warmup_rounds = 1;
    rates_are(p, (double[]){0.5, 1, 1, 1, 1, 1, 1, 1});
    m->schedule = NN_SCHEDULE_COSINE;
    m->warmup_rounds = 2; /* cos of 0, 30, ... 150 degrees over the six rounds that are left */
    const double c = sqrt(3) / 2;
    rates_are(p, (double[]){1. / 3, 2. / 3, 1, (1 + c) / 2, 0.75, 0.5, 0.25, (1 - c) / 2});
    m->warmup_rounds = 0;
    const double d = sqrt(0.5), e = cos(acos(-1) / 8), f = sin(acos(-1) / 8);
    rates_are(p, (double[]){1, (1 + e) / 2, (1 + d) / 2, (1 + f) / 2, 0.5, (1 - f) / 2, (1 - d) / 2, (1 - e) / 2});
}

static void plain_fedavg_is_the_weighted_mean_of_the_hospitals_models(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    p.phases[0].server = NN_SERVER_SGD;
    p.phases[0].server_learning_rate = 1;
    p.phases[0].server_weight_decay = 0;
    nn_server s = a_server(&p);
    const uint64_t declared[3] = {10, 50, 200};
    int64_t u[3][130], sum[130] = {0};
    double mean[130];
    fl_err err;
    for (int i = 0; i < 130; i++) {
        mean[i] = 0;
        for (int h = 0; h < 3; h++) {
            u[h][i] = (i * 31 + h * 17) % 201 - 100;
            double local = nn_server_model(&s)[i] -
                           0.5 * nn_phase_grid(&p.phases[0]) * (double)u[h][i] / (0.25 * (double)declared[h]);
            mean[i] += local * (double)declared[h] / 260;
        }
    }
    for (int h = 0; h < 3; h++)
        nn_server_sum(sum, u[(h * 2) % 3], 130); /* any order */
    assert_int_equal(nn_server_apply(&s, &p, sum, 260, 0, &err), FL_OK);
    for (int i = 0; i < 130; i++)
        assert_true(fabs(nn_server_model(&s)[i] - mean[i]) < 1e-7);
    nn_server_fini(&s);
}

static void the_released_model_is_the_average_that_was_asked_for(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        nn_plan p = a_plan();
        p.phases[0].average = variant == 0 ? NN_AVERAGE_NONE : variant == 1 ? NN_AVERAGE_EMA : NN_AVERAGE_TAIL;
        p.phases[0].average_value = variant == 1 ? 0.9 : variant == 2 ? 0.5 : 0.01;
        nn_server s = a_server(&p);
        double expected[130] = {0};
        int n = 0;
        for (uint32_t r = 0; r < 8; r++) {
            run(&s, &p, r, r + 1);
            bool enters = variant == 2 ? r >= 4 : variant == 3 ? r == 7 : true;
            n += enters;
            for (int i = 0; enters && i < 130; i++) {
                double w = nn_server_model(&s)[i];
                if (variant == 0)
                    expected[i] = w;
                else if (variant == 1)
                    expected[i] = r == 0 ? w : 0.9 * expected[i] + 0.1 * w;
                else
                    expected[i] += w;
            }
        }
        float released[130];
        nn_server_released_model(&s, released);
        for (int i = 0; i < 130; i++) {
            double e = variant >= 2 ? expected[i] / n : expected[i];
            assert_true(fabs(released[i] - e) < 1e-6 * (1 + fabs(e)));
        }
        nn_server_fini(&s);
    }
}

static void stopped_anywhere_and_read_back_it_ends_with_the_same_bits(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    p.phases[0].average = NN_AVERAGE_TAIL;
    p.phases[0].average_value = 0.5;
    p.phases[0].schedule = NN_SCHEDULE_COSINE;
    nn_server whole = a_server(&p);
    run(&whole, &p, 0, 8);
    for (uint32_t stop = 0; stop <= 8; stop++) {
        nn_server first = a_server(&p), second;
        fl_buf bytes, end_a, end_b;
        fl_err err;
        fl_buf_init(&bytes, 1 << 20);
        fl_buf_init(&end_a, 1 << 20);
        fl_buf_init(&end_b, 1 << 20);
        run(&first, &p, 0, stop);
        assert_int_equal(nn_server_write(&bytes, &first, &err), FL_OK);
        assert_int_equal(bytes.size, nn_server_size(&p));
        assert_int_equal(nn_server_read(&second, &p, bytes.bytes, bytes.size, &err), FL_OK);
        run(&second, &p, stop, 8);
        assert_int_equal(nn_server_write(&end_a, &whole, &err), FL_OK);
        assert_int_equal(nn_server_write(&end_b, &second, &err), FL_OK);
        assert_memory_equal(end_a.bytes, end_b.bytes, end_a.size);
        fl_buf_fini(&bytes);
        fl_buf_fini(&end_a);
        fl_buf_fini(&end_b);
        nn_server_fini(&first);
        nn_server_fini(&second);
    }
    nn_server_fini(&whole);
}

/* --- phases and adam -------------------------------------------------------------------------------------------- */

/* torch.optim.Adam(lr = 1.5, betas = (0.9, 0.999)) on one weight that starts at 0.25, with these gradients. */
static void adam_is_pytorchs(void **state)
{
    (void)state;
    static const int64_t sums[] = {1000, -500, 250, 0, 2000};
    static const double expected[] = {-1.2499997000000598, -1.6495051584077147, -2.160148726262234, -2.5784368457452693,
                                      -3.4642473774407234};
    nn_plan p = a_plan();
    p.phases[0].server = NN_SERVER_ADAM;
    p.phases[0].server_momentum = 0.9;
    p.phases[0].server_weight_decay = 0;
    nn_server s = a_server(&p);
    int64_t sum[130] = {0};
    fl_err err;
    s.w[3] = 0.25f;
    for (uint32_t r = 0; r < 5; r++) {
        sum[3] = sums[r]; /* gradient = sum 0.5 / 1000 / (0.25 40) */
        assert_int_equal(nn_server_apply(&s, &p, sum, 40, r, &err), FL_OK);
        assert_true(fabs(nn_server_model(&s)[3] - expected[r]) < 2e-6);
    }
    nn_server_fini(&s);
}

/* Rounds 1 to 3 learn the first layer, 4 to 8 the second. */
static nn_plan two_phases(nn_server_kind server)
{
    nn_plan p = a_plan();
    nn_phase *before = &p.phases[0], *m = &p.phases[1];
    strcpy(p.spec, "linear 2 as first\ntanh\nlinear classes as second");
    p.n_weights = 64 * 2 + 2 + 6;
    p.n_phases = 2;
    before->server = server;
    before->average = NN_AVERAGE_TAIL;
    before->average_value = 0.7;
    *m = *before;
    strcpy(before->name, "before");
    strcpy(before->learn, "first");
    before->rounds = 3;
    before->n_learned = 130;
    before->server_learning_rate = 2;
    before->schedule = NN_SCHEDULE_STEP; /* each phase has a schedule of its own */
    before->schedule_every = 2, before->schedule_factor = 0.5;
    strcpy(m->learn, "second");
    m->n_learned = 6;
    m->warmup_rounds = 2;
    nn_plan_settle(&p);
    return p;
}

static void apply(nn_server *s, const nn_plan *p, uint32_t round)
{
    int64_t sum[130];
    fl_err err;
    some_sum(sum, nn_plan_phase(p, round + 1)->n_learned, round);
    assert_int_equal(nn_server_apply(s, p, sum, 40, round, &err), FL_OK);
}

static void a_phase_moves_what_it_learns_and_begins_anew(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        nn_plan p = two_phases((nn_server_kind)k);
        nn_server s = a_server(&p), fresh;
        float start[136], between[136], released[136];
        memcpy(start, nn_server_model(&s), sizeof start);
        for (uint32_t r = 0; r < 3; r++)
            apply(&s, &p, r);
        memcpy(between, nn_server_model(&s), sizeof between);
        assert_memory_equal(start + 130, between + 130, 6 * sizeof(float));
        for (int i = 0; i < 130; i++)
            assert_true(between[i] != start[i]);
        nn_server_released_model(&s, released);
        assert_memory_equal(released, between, sizeof between); /* the phase hands its average on: */
        nn_plan first = p;
        first.rounds = 3;
        first.n_phases = 1;
        fresh = a_server(&first);
        for (uint32_t r = 0; r < 3; r++)
            apply(&fresh, &first, r);
        nn_server_released_model(&fresh, released);
        assert_memory_equal(released, between, sizeof between);
        assert_true(memcmp(nn_server_model(&fresh), between, sizeof between) != 0);
        nn_server_fini(&fresh);
        /* the second phase is what it would be alone, from there */
        nn_plan alone = p;
        alone.rounds = 5;
        alone.n_phases = 1;
        alone.phases[0] = p.phases[1];
        fresh = a_server(&alone);
        memcpy(fresh.w, between, sizeof between);
        for (uint32_t r = 0; r < 5; r++) {
            int64_t sum[6];
            fl_err err;
            some_sum(sum, 6, r + 3);
            apply(&s, &p, r + 3);
            assert_int_equal(nn_server_apply(&fresh, &alone, sum, 40, r, &err), FL_OK);
            assert_memory_equal(nn_server_model(&s), nn_server_model(&fresh), sizeof between);
            float other[136];
            nn_server_released_model(&s, released);
            nn_server_released_model(&fresh, other);
            assert_memory_equal(released, other, sizeof other);
            assert_memory_equal(released, between, 130 * sizeof(float));
        }
        assert_true(memcmp(released + 130, nn_server_model(&s) + 130, 6 * sizeof(float)) != 0); /* an average */
        nn_server_fini(&s);
        nn_server_fini(&fresh);
    }
}

static void stopped_in_any_phase_it_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        nn_plan p = two_phases((nn_server_kind)k);
        nn_server whole = a_server(&p);
        for (uint32_t r = 0; r < 8; r++)
            apply(&whole, &p, r);
        for (uint32_t stop = 0; stop < 8; stop++) {
            nn_server s = a_server(&p), back;
            fl_buf bytes;
            fl_err err;
            for (uint32_t r = 0; r < stop; r++)
                apply(&s, &p, r);
            fl_buf_init(&bytes, 1 << 20);
            assert_int_equal(nn_server_write(&bytes, &s, &err), FL_OK);
            assert_int_equal(bytes.size, nn_server_size(&p));
            assert_int_equal(bytes.bytes[7], k == NN_SERVER_ADAM ? '2' : '1');
            assert_int_equal(nn_server_read(&back, &p, bytes.bytes, bytes.size, &err), FL_OK);
            for (uint32_t r = stop; r < 8; r++)
                apply(&back, &p, r);
            float a[136], b[136];
            nn_server_released_model(&whole, a);
            nn_server_released_model(&back, b);
            assert_memory_equal(a, b, sizeof a);
            assert_memory_equal(nn_server_model(&whole), nn_server_model(&back), sizeof a);
            nn_server_fini(&s);
            nn_server_fini(&back);
            fl_buf_fini(&bytes);
        }
        nn_server_fini(&whole);
    }
}

/* What version 1 wrote, byte for byte: studies that run go on from it. */
static void the_state_of_older_programs_is_the_same(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    p.phases[0].average = NN_AVERAGE_TAIL;
    p.phases[0].average_value = 0.5;
    nn_server s = a_server(&p);
    run(&s, &p, 0, 6);
    fl_buf bytes;
    fl_err err;
    char hex[2 * FL_HASH_SIZE + 1];
    fl_buf_init(&bytes, 1 << 20);
    assert_int_equal(nn_server_write(&bytes, &s, &err), FL_OK);
    const fl_hash hash = fl_sha256(bytes.bytes, bytes.size);
    fl_hex_encode(hex, hash.bytes, FL_HASH_SIZE);
    assert_string_equal(hex, "a89dff08064061d76b6c4f432b664efd89a96d58d88e0be9590fefa4f83228f1");
    fl_buf_fini(&bytes);
    nn_server_fini(&s);
}

/* safetensors of a linear layer of 2 x 64, by hand. */
static void write_weights(fl_buf *out, const float *w)
{
    static const char header[] = "{\"0.weight\":{\"dtype\":\"F32\",\"shape\":[2,64],\"data_offsets\":[0,512]},"
                                 "\"0.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[512,520]}}";
    uint8_t length[8] = {(uint8_t)(sizeof header - 1)}, bytes[520];
    fl_buf_add(out, length, sizeof length);
    fl_buf_add(out, header, sizeof header - 1);
    nn_weights_write(bytes, w, 130);
    fl_buf_add(out, bytes, sizeof bytes);
}

static void a_pretrained_start_is_the_file_of_the_plan_or_nothing(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    fl_err err;
    fl_buf file, report;
    float w[130], out[130];
    for (int i = 0; i < 130; i++)
        w[i] = (float)i / 8;
    fl_buf_init(&file, 1 << 20);
    fl_buf_init(&report, 1 << 16);
    write_weights(&file, w);
    const fl_hash hash = fl_sha256(file.bytes, file.size);
    fl_hex_encode(p.initial, hash.bytes, FL_HASH_SIZE);
    nn_plan_settle(&p);
    nn_server s;
    if (nn_server_init(&s, &p, file.bytes, file.size, &report, &err) != FL_OK)
        fail_msg("%s", err.text);
    memcpy(out, nn_server_model(&s), sizeof out);
    assert_memory_equal(out, w, sizeof w);
    assert_true(report.size > 0);
    nn_server_fini(&s);
    assert_int_equal(nn_server_init(&s, &p, NULL, 0, NULL, &err), FL_EREFUSED);
    file.bytes[file.size - 1] ^= 1;
    assert_int_equal(nn_server_init(&s, &p, file.bytes, file.size, NULL, &err), FL_EREFUSED);
    p.initial[0] = 0;
    assert_int_equal(nn_server_init(&s, &p, file.bytes, file.size, NULL, &err), FL_EREFUSED);
    fl_buf_fini(&file);
    fl_buf_fini(&report);
}

/* A file of three channels for a model of one: the plan says whether it is summed. */
static void a_start_in_colour_is_summed_or_refused(void **state)
{
    (void)state;
    static const char header[] = "{\"c.weight\":{\"dtype\":\"F32\",\"shape\":[1,3,1,1],\"data_offsets\":[0,12]}}";
    const float kernels[3] = {0.5f, 0.25f, -2};
    nn_plan p = a_plan();
    nn_server s;
    fl_err err;
    fl_buf file, report;
    uint8_t bytes[12], length[8] = {(uint8_t)(sizeof header - 1)};
    strcpy(p.spec, "conv 1x1 1 nobias as c\nlinear classes");
    p.n_weights = 1 + 130;
    nn_plan_settle(&p);
    fl_buf_init(&file, 1 << 10);
    fl_buf_init(&report, 1 << 16);
    nn_weights_write(bytes, kernels, 3);
    fl_buf_add(&file, length, sizeof length);
    fl_buf_add(&file, header, sizeof header - 1);
    fl_buf_add(&file, bytes, sizeof bytes);
    const fl_hash hash = fl_sha256(file.bytes, file.size);
    fl_hex_encode(p.initial, hash.bytes, FL_HASH_SIZE);
    assert_int_equal(nn_server_init(&s, &p, file.bytes, file.size, &report, &err), FL_OK);
    assert_true(nn_server_model(&s)[0] == -1.25f);
    assert_non_null(strstr(fl_buf_text(&report), "summed over the three channels"));
    nn_server_fini(&s);
    p.pretrained_channels = NN_CHANNELS_REFUSE;
    fl_buf_clear(&report);
    assert_int_equal(nn_server_init(&s, &p, file.bytes, file.size, &report, &err), FL_EREFUSED);
    assert_non_null(strstr(err.text, "c.weight is 1x1x1x1, the file's is 1x3x1x1"));
    assert_non_null(strstr(fl_buf_text(&report), "does not fit: pretrained_channels is refuse"));
    fl_buf_fini(&file);
    fl_buf_fini(&report);
}

static void rounds_out_of_turn_and_exploding_models_are_refused(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    nn_server s = a_server(&p);
    int64_t sum[130] = {0};
    fl_err err;
    assert_int_equal(nn_server_apply(&s, &p, sum, 40, 1, &err), FL_EREFUSED);
    run(&s, &p, 0, 1);
    assert_int_equal(nn_server_apply(&s, &p, sum, 40, 0, &err), FL_EREFUSED);
    run(&s, &p, 1, 7);
    float before[130];
    memcpy(before, nn_server_model(&s), sizeof before);
    p.phases[0].server_learning_rate = 1e38;
    sum[129] = INT64_MAX;
    assert_int_equal(nn_server_apply(&s, &p, sum, 1, 7, &err), FL_EREFUSED);
    assert_memory_equal(before, nn_server_model(&s), sizeof before);
    assert_int_equal(s.rounds_done, 7);
    p.phases[0].server_learning_rate = 3;
    run(&s, &p, 7, 8);
    assert_int_equal(nn_server_apply(&s, &p, sum, 40, 8, &err), FL_EREFUSED); /* the plan has 8 */
    nn_server_fini(&s);
}

static void damaged_states_are_refused(void **state)
{
    (void)state;
    nn_plan p = a_plan();
    nn_server s = a_server(&p), back;
    fl_buf b;
    fl_err err;
    run(&s, &p, 0, 3);
    fl_buf_init(&b, 1 << 20);
    assert_int_equal(nn_server_write(&b, &s, &err), FL_OK);
    for (size_t n = 0; n < b.size; n += 97)
        assert_int_equal(nn_server_read(&back, &p, b.bytes, n, &err), FL_EFORMAT);
    static const size_t header[] = {0, 7, 8, 39, 40, 43, 47, 49, 52, 55};
    for (size_t i = 0; i < sizeof header / sizeof header[0]; i++) {
        b.bytes[header[i]] ^= 0x80;
        assert_int_equal(nn_server_read(&back, &p, b.bytes, b.size, &err), FL_EFORMAT);
        b.bytes[header[i]] ^= 0x80;
    }
    static const size_t tops[] = {56 + 3, 56 + 4 * 130 + 7, 56 + 12 * 130 + 7}; /* exponents of the first values */
    for (size_t i = 0; i < 3; i++) {
        uint8_t kept[2] = {b.bytes[tops[i] - 1], b.bytes[tops[i]]};
        b.bytes[tops[i]] = 0x7f;
        b.bytes[tops[i] - 1] = 0xf0;
        assert_int_equal(nn_server_read(&back, &p, b.bytes, b.size, &err), FL_EFORMAT);
        b.bytes[tops[i] - 1] = kept[0];
        b.bytes[tops[i]] = kept[1];
    }
    assert_int_equal(nn_server_read(&back, &p, b.bytes, b.size, &err), FL_OK);
    nn_server_fini(&back);
    nn_server_fini(&s);
    fl_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_step_is_its_formula),
        cmocka_unit_test(the_learning_rate_follows_its_schedule),
        cmocka_unit_test(plain_fedavg_is_the_weighted_mean_of_the_hospitals_models),
        cmocka_unit_test(the_released_model_is_the_average_that_was_asked_for),
        cmocka_unit_test(stopped_anywhere_and_read_back_it_ends_with_the_same_bits),
        cmocka_unit_test(adam_is_pytorchs),
        cmocka_unit_test(a_phase_moves_what_it_learns_and_begins_anew),
        cmocka_unit_test(stopped_in_any_phase_it_goes_on_with_the_same_bits),
        cmocka_unit_test(the_state_of_older_programs_is_the_same),
        cmocka_unit_test(a_pretrained_start_is_the_file_of_the_plan_or_nothing),
        cmocka_unit_test(a_start_in_colour_is_summed_or_refused),
        cmocka_unit_test(rounds_out_of_turn_and_exploding_models_are_refused),
        cmocka_unit_test(damaged_states_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
