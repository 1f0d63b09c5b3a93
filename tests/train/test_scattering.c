/* The scattering transform against an independent one in double (scripts/gen/scattering_values.py), its kernels against
 * one another, and images that are nothing. The reference values of real images: tests/sim/test_scattering_reference.c. */
#include "tests/base/test.h"
#include "train/scattering.h"
#include <math.h>

#define TOLERANCE 2e-5 /* of the largest value: float against double */

static fl_err err;

typedef struct room {
    nn_scattering s;
    float *out, *scratch, *x;
} room;

static void enter(room *r, nn_scattering s)
{
    r->s = s;
    assert_ok(nn_scattering_init(&r->s, &err), err);
    r->out = calloc(r->s.n_out, sizeof(float));
    r->scratch = malloc(r->s.n_scratch * sizeof(float));
    memset(r->scratch, 0xff, r->s.n_scratch * sizeof(float)); /* NaN: whatever is read was written before */
    r->x = malloc((size_t)s.height * s.width * sizeof(float));
}

static void leave(room *r)
{
    free(r->out);
    free(r->scratch);
    free(r->x);
}

/* image of scripts/gen/scattering_values.py, in 0..1 */
static void draw(float *x, uint32_t h, uint32_t w)
{
    for (uint32_t i = 0; i < h * w; i++) {
        const double noise = (uint32_t)(i * 2654435761u + 40503u) / 256 / 16777216.0, y = i / w, at = i % w;
        const double wave = 0.5 + 0.3 * sin(0.7 * at + 0.2 * y) * cos(0.05 * y * y / h);
        x[i] = (float)(0.6 * wave + 0.4 * noise);
    }
}

static void to_both_signs(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 2 * x[i] - 1;
}

static void check_line(char *line)
{
    unsigned J, L, h, w, mirror, groups, scalewise, stride;
    char kind[16];
    int used = 0;
    room r;
    assert_int_equal(sscanf(line, "%u %u %u %u %u %u %u %15s %u%n", &J, &L, &h, &w, &mirror, &groups, &scalewise, kind,
                            &stride, &used),
                     9);
    enter(&r, (nn_scattering){.scales = J,
                              .angles = L,
                              .height = h,
                              .width = w,
                              .mirror = mirror,
                              .groups = groups,
                              .scalewise = scalewise});
    draw(r.x, h, w);
    if (strcmp(kind, "raw") == 0) {
        nn_scattering_raw(&r.s, r.out, r.scratch, r.x);
    } else {
        to_both_signs(r.x, (size_t)h * w);
        nn_scattering_features(&r.s, r.out, r.scratch, r.x);
    }
    double largest = 0;
    for (size_t i = 0; i < r.s.n_out; i++)
        largest = fmax(largest, fabsf(r.out[i]));
    const char *at = line + used;
    for (size_t i = 0; i < r.s.n_out; i += stride) {
        char *end;
        const double expected = strtod(at, &end);
        assert_ptr_not_equal(end, at);
        at = end;
        if (!(fabs(r.out[i] - expected) <= TOLERANCE * largest))
            fail_msg("J %u L %u %ux%u %s, value %zu: %.9g, expected %.9g", J, L, h, w, kind, i, r.out[i], expected);
    }
    assert_string_equal(at, "\n");
    leave(&r);
}

static void values_are_those_of_an_independent_transform(void **state)
{
    (void)state;
    static char line[16384];
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/train/scattering.txt", "r");
    int n = 0;
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); n++)
        check_line(line);
    assert_int_equal(n, 18);
    fclose(f);
}

static void every_kernel_gives_the_same_bits(void **state)
{
    (void)state;
    static const nn_scattering cases[] = {{.scales = 3, .angles = 8, .height = 33, .width = 47, .mirror = true},
                                          {.scales = 4, .angles = 8, .height = 64, .width = 64, .scalewise = true},
                                          {.scales = 2, .angles = 16, .height = 20, .width = 17, .mirror = true},
                                          {.scales = 1, .angles = 10, .height = 16, .width = 21}};
    static const char *const faster[] = {"avx2", "avx512"};
    const char *first = nn_scattering_kernel();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        room r;
        enter(&r, cases[i]);
        draw(r.x, r.s.height, r.s.width);
        float *expected = malloc(r.s.n_out * sizeof(float));
        assert_true(nn_scattering_use("portable"));
        nn_scattering_features(&r.s, expected, r.scratch, r.x);
        for (size_t k = 0; k < 2; k++) {
            memset(r.out, 0, r.s.n_out * sizeof(float));
            if (!nn_scattering_use(faster[k]))
                continue;
            nn_scattering_features(&r.s, r.out, r.scratch, r.x);
            assert_memory_equal(r.out, expected, r.s.n_out * sizeof(float));
        }
        free(expected);
        leave(&r);
    }
    assert_true(nn_scattering_use(first));
    assert_false(nn_scattering_use("abacus"));
}

static void with_mirror_an_image_and_its_mirror_are_one(void **state)
{
    (void)state;
    room r;
    enter(&r, (nn_scattering){.scales = 2, .angles = 8, .height = 16, .width = 18, .mirror = true});
    draw(r.x, 16, 18);
    nn_scattering_features(&r.s, r.out, r.scratch, r.x);
    float *mine = malloc(r.s.n_out * sizeof(float));
    memcpy(mine, r.out, r.s.n_out * sizeof(float));
    for (int i = 0; i < 16 * 9; i++) {
        float *a = r.x + i / 9 * 18 + i % 9, *b = r.x + i / 9 * 18 + 17 - i % 9, kept = *a;
        *a = *b;
        *b = kept;
    }
    nn_scattering_features(&r.s, r.out, r.scratch, r.x);
    assert_memory_equal(mine, r.out, r.s.n_out * sizeof(float));
    free(mine);
    leave(&r);
}

static void images_that_are_nothing_have_features(void **state)
{
    (void)state;
    room r;
    enter(&r, (nn_scattering){.scales = 2, .angles = 8, .height = 16, .width = 16, .mirror = true});
    for (int i = 0; i < 256; i++)
        r.x[i] = 0.25f;
    nn_scattering_features(&r.s, r.out, r.scratch, r.x);
    for (size_t i = 0; i < r.s.n_out; i++)
        assert_true(fabsf(r.out[i]) <= 1);
    r.x[7] = NAN;
    nn_scattering_features(&r.s, r.out, r.scratch, r.x);
    assert_true(isnan(r.out[0]) && isnan(r.out[r.s.n_out - 1]));
    leave(&r);
}

static void refused(nn_scattering s, const char *why)
{
    assert_int_equal(nn_scattering_init(&s, &err), FL_EFORMAT);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    const nn_scattering fine = {.scales = 3, .angles = 8, .height = 16, .width = 64};
    nn_scattering s = fine;
    assert_ok(nn_scattering_init(&s, &err), err);
    s = fine, s.scales = 4;
    refused(s, "4 scales need sides of 32 to 1024 pixels");
    s = fine, s.width = 1025;
    refused(s, "sides of 16 to 1024");
    s = fine, s.scales = 0;
    refused(s, "0 scales, expected 1 to 6");
    s = fine, s.scales = 7;
    refused(s, "7 scales");
    s = fine, s.angles = 7;
    refused(s, "7 angles, expected an even number from 2 to 16");
    s = fine, s.angles = 18;
    refused(s, "18 angles");
    s = fine, s.groups = 2;
    refused(s, "2 groups do not divide 217 channels");
    s = fine, s.groups = 7, s.mirror = true;
    refused(s, "groups and mirror exclude one another");
    s = fine, s.groups = 7, s.scalewise = true;
    refused(s, "groups and scalewise exclude one another");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_an_independent_transform),
        cmocka_unit_test(every_kernel_gives_the_same_bits),
        cmocka_unit_test(with_mirror_an_image_and_its_mirror_are_one),
        cmocka_unit_test(images_that_are_nothing_have_features),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
