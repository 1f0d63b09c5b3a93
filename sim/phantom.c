#include "sim/phantom.h"

#include "base/file.h"
#include "base/rng.h"
#include "sim/phantom_dicom.h"
#include "sim/phantom_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
typedef struct site {
    const char *name;
    double diseased;       /* share of the patients */
    bool is_monochrome1, has_window;
    sim_look look;         /* gain, offset, gamma, noise, blur, border */
} site;

static const site sites[] = {
    {"alder",    0.50, false, true,  {0.86, 0.06, 1.00, 0.012, 0, 0}},
    {"birch",    0.36, true,  false, {0.70, 0.18, 0.85, 0.020, 0, 0}},
    {"cedar",    0.62, false, false, {0.96, 0.00, 1.30, 0.030, 1, 3}},
    {"dogwood",  0.28, false, true,  {0.62, 0.10, 1.10, 0.016, 1, 0}},
    {"elm",      0.44, false, false, {0.78, 0.02, 0.80, 0.026, 2, 0}},
    {"fir",      0.70, true,  true,  {0.90, 0.04, 1.15, 0.018, 0, 2}},
    {"ginkgo",   0.40, false, true,  {0.55, 0.25, 0.95, 0.022, 0, 0}},
    {"hazel",    0.55, false, false, {0.82, 0.08, 1.20, 0.034, 1, 4}},
};
#define N_SITES (sizeof sites / sizeof sites[0])

static const char *const family_start[] = {
    "Wobble", "Quibble", "Zephyr", "Thimble", "Marzipan", "Bumble", "Crumpet", "Fiddle", "Gargle", "Haddock",
    "Jabber", "Kettle", "Lollop", "Muddle", "Noodle", "Pumpkin", "Rhubarb", "Snuffle", "Trundle", "Waffle",
};
static const char *const family_end[] = {
    "thorpe", "wickley", "grave", "stonefield", "hampton", "bottomley", "worthing", "quist", "dottir", "mansky",
    "feather", "ovich", "heimer", "shanks", "borough", "whistle",
};
static const char *const given[] = {
    "Balthazarine", "Cornelisanne", "Deliverancia", "Ethelburgine", "Fortunatella", "Gwendolettus", "Hildebrandina",
    "Ignatiusette", "Jacquelinus", "Kunigundella", "Ludovicanne", "Melchioretta", "Nathanielina", "Octavianella",
    "Peregrinette", "Quintilianus", "Rosamundeva", "Sebastiolina", "Theophilette", "Ursulanicus",
};
/* clang-format on */

#define PICK(list, rng) (list)[fl_rng_below((rng), sizeof(list) / sizeof(list)[0])]

/* Where the three tables of the run grow. */
typedef struct tables {
    fl_buf manifest, labels, planted;
    char **strings; /* every planted text, with repeats */
    size_t n_strings, max_strings;
} tables;

typedef struct patient {
    bool diseased;
    const char *split;
} patient;

static void hospital_name(char out[32], unsigned h)
{
    if (h < N_SITES)
        snprintf(out, 32, "%s", sites[h].name);
    else
        snprintf(out, 32, "%s%u", sites[h % N_SITES].name, (unsigned)(h / N_SITES + 1));
}

/* 2.25. and 128 random bits in decimal (PS3.5 B.2). */
static void draw_uid(char out[65], fl_rng *rng)
{
    unsigned __int128 v = (unsigned __int128)fl_rng_u64(rng) << 64 | fl_rng_u64(rng);
    char digits[40];
    unsigned n = 0;
    do
        digits[n++] = (char)('0' + (unsigned)(v % 10));
    while ((v /= 10) != 0);
    memcpy(out, "2.25.", 5);
    for (unsigned i = 0; i < n; i++)
        out[5 + i] = digits[n - 1 - i];
    out[5 + n] = 0;
}

static void shuffle(patient *p, unsigned n, fl_rng *rng)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned j = (unsigned)fl_rng_below(rng, i);
        patient t = p[i - 1];
        p[i - 1] = p[j];
        p[j] = t;
    }
}

/* 70/15/15 within a class. */
static void draw_splits(patient *p, unsigned n)
{
    unsigned n_test = (unsigned)(0.15 * n + 0.5), n_val = (unsigned)(0.15 * n + 0.5);
    for (unsigned i = 0; i < n; i++)
        p[i].split = i < n_test ? "test" : i < n_test + n_val ? "val" : "train";
}

static void draw_patients(patient *p, unsigned n, double diseased, fl_rng *rng)
{
    unsigned n_diseased = (unsigned)(diseased * n + 0.5);
    if (n >= 2)
        n_diseased = n_diseased < 1 ? 1 : n_diseased > n - 1 ? n - 1 : n_diseased;
    for (unsigned i = 0; i < n; i++)
        p[i].diseased = i < n_diseased;
    draw_splits(p, n_diseased);
    draw_splits(p + n_diseased, n - n_diseased);
    shuffle(p, n, rng);
}

static void draw_identity(sim_film *f, const char *hospital, unsigned index, fl_rng *rng)
{
    char code[4] = {(char)(hospital[0] - 32), (char)(hospital[1] - 32), (char)(hospital[2] - 32), 0};
    snprintf(f->family, sizeof f->family, "%s%s", PICK(family_start, rng), PICK(family_end, rng));
    snprintf(f->given, sizeof f->given, "%s", PICK(given, rng));
    snprintf(f->patient_id, sizeof f->patient_id, "%s-%04u-%06u", code, index + 1,
             (unsigned)fl_rng_below(rng, 1000000));
    snprintf(f->address, sizeof f->address, "%u %s Crescent, Nowhere", 1 + (unsigned)fl_rng_below(rng, 400), f->family);
    snprintf(f->phone, sizeof f->phone, "+999 %07u", (unsigned)fl_rng_below(rng, 10000000));
    snprintf(f->institution, sizeof f->institution, "Imaginary Infirmary of %s", hospital);
    snprintf(f->physician, sizeof f->physician, "Doctorow%s^%s", family_end[hospital[0] % 16], given[hospital[1] % 20]);
    snprintf(f->note, sizeof f->note, "for %s %s, bed %u", f->given, f->family, 1 + (unsigned)fl_rng_below(rng, 90));
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static fl_code note_planted(tables *t, const sim_film *film, const char *file, fl_err *err)
{
    const char *texts[SIM_MAX_PLANTED];
    unsigned n = sim_film_planted(texts, film);
    if (t->n_strings + n > t->max_strings) {
        size_t more = 2 * t->max_strings + SIM_MAX_PLANTED;
        char **grown = realloc(t->strings, more * sizeof *grown);
        if (!grown)
            return fl_fail(err, FL_EENV, "phantom: out of memory");
        t->strings = grown;
        t->max_strings = more;
    }
    fl_buf_printf(&t->planted, "%s    \"%s\": [", t->n_strings ? ",\n" : "", file);
    for (unsigned i = 0; i < n; i++) {
        char *copy = strdup(texts[i]);
        if (!copy)
            return fl_fail(err, FL_EENV, "phantom: out of memory");
        t->strings[t->n_strings++] = copy;
        fl_buf_printf(&t->planted, "%s\"%s\"", i ? ", " : "", texts[i]); /* plain ASCII without quotes */
    }
    fl_buf_add_text(&t->planted, "]");
    return FL_OK;
}

static fl_code write_planted(tables *t, const char *out_dir, fl_err *err)
{
    qsort(t->strings, t->n_strings, sizeof *t->strings, compare_texts);
    fl_buf_add_text(&t->planted, "\n  },\n  \"strings\": [");
    for (size_t i = 0; i < t->n_strings; i++)
        if (i == 0 || strcmp(t->strings[i], t->strings[i - 1]) != 0)
            fl_buf_printf(&t->planted, "%s\n    \"%s\"", i ? "," : "", t->strings[i]);
    fl_buf_add_text(&t->planted, "\n  ]\n}\n");
    char path[FL_PATH_MAX];
    fl_code code = fl_buf_check(&t->planted, "planted.json", err);
    return code != FL_OK
               ? code
               : fl_file_write(fl_path(path, out_dir, "planted.json"), t->planted.bytes, t->planted.size, 0644, err);
}

static fl_code write_film(const char *dir, const char *name, const sim_film *film, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_buf bytes;
    fl_buf_init(&bytes, 1 << 20);
    sim_film_write(&bytes, film);
    fl_code code = fl_buf_check(&bytes, name, err);
    if (code == FL_OK) { /* not fl_file_write: a thousand fsyncs for films that a seed makes again */
        FILE *f = fopen(fl_path(path, dir, name), "wb");
        bool ok = f && fwrite(bytes.bytes, 1, bytes.size, f) == bytes.size;
        if (f && fclose(f) != 0)
            ok = false;
        if (!ok)
            code = fl_fail(err, FL_EENV, "%s: cannot be written: is the disk full?", path);
    }
    fl_buf_fini(&bytes);
    return code;
}

/* All of one patient's films. */
static fl_code make_patient(tables *t, const char *out_dir, unsigned h, unsigned index, const patient *p,
                            unsigned *n_images, uint64_t seed, fl_err *err)
{
    const site *s = &sites[h % N_SITES];
    char hospital[32], dir[FL_PATH_MAX], name[32], file[80];
    uint16_t pixels[SIM_PHANTOM_SIDE * SIM_PHANTOM_SIDE];
    fl_rng rng;
    fl_rng_init(&rng, seed, ((uint64_t)(h + 1) << 32) + index + 1);
    hospital_name(hospital, h);
    fl_path(dir, out_dir, hospital);
    sim_film film = {
        .pixels = pixels, .side = SIM_PHANTOM_SIDE, .is_monochrome1 = s->is_monochrome1, .has_window = s->has_window};
    draw_identity(&film, hospital, index, &rng);
    sim_body body;
    sim_body_draw(&body, &rng, p->diseased);
    unsigned n = fl_rng_below(&rng, 5) == 0 ? 2 + (unsigned)fl_rng_below(&rng, 2) : 1;
    for (unsigned i = 0; i < n; i++) {
        sim_body_render(pixels, &body, &s->look, &rng);
        film.instance = i + 1;
        snprintf(film.accession, sizeof film.accession, "ACC%07u%c%c", (unsigned)fl_rng_below(&rng, 10000000),
                 'A' + (char)fl_rng_below(&rng, 26), 'A' + (char)fl_rng_below(&rng, 26));
        draw_uid(film.study_uid, &rng);
        draw_uid(film.series_uid, &rng);
        draw_uid(film.sop_uid, &rng);
        snprintf(name, sizeof name, "IMG%04u.dcm", ++*n_images);
        snprintf(file, sizeof file, "%s/%s", hospital, name);
        fl_code code = write_film(dir, name, &film, err);
        if (code == FL_OK)
            code = note_planted(t, &film, file, err);
        if (code != FL_OK)
            return code;
        fl_buf_printf(&t->labels, "%s,%d,%s\n", name, p->diseased, p->split);
        fl_buf_printf(&t->manifest, "%s,%d,%s,%s-%04u,%s,%s\n", file, p->diseased, p->diseased ? "pneumonia" : "normal",
                      hospital, index + 1, hospital, p->split);
    }
    return FL_OK;
}

static fl_code make_hospital(tables *t, const char *out_dir, unsigned h, unsigned n_patients, uint64_t seed,
                             fl_err *err)
{
    char hospital[32], dir[FL_PATH_MAX], path[FL_PATH_MAX];
    hospital_name(hospital, h);
    fl_code code = fl_dir_make(fl_path(dir, out_dir, hospital), err);
    if (code != FL_OK)
        return code;
    patient *patients = calloc(n_patients, sizeof *patients);
    if (!patients)
        return fl_fail(err, FL_EENV, "phantom: out of memory");
    fl_rng rng;
    fl_rng_init(&rng, seed, (uint64_t)(h + 1) << 32);
    draw_patients(patients, n_patients, sites[h % N_SITES].diseased, &rng);
    fl_buf_clear(&t->labels);
    fl_buf_add_text(&t->labels, "file,label,split\n");
    unsigned n_images = 0;
    for (unsigned i = 0; i < n_patients && code == FL_OK; i++)
        code = make_patient(t, out_dir, h, i, &patients[i], &n_images, seed, err);
    if (code == FL_OK)
        code = fl_buf_check(&t->labels, "labels.csv", err);
    if (code == FL_OK)
        code = fl_file_write(fl_path(path, dir, "labels.csv"), t->labels.bytes, t->labels.size, 0644, err);
    free(patients);
    return code;
}

fl_code sim_phantom(const char *out_dir, unsigned n_hospitals, unsigned n_patients, uint64_t seed, fl_err *err)
{
    if (n_hospitals < 1 || n_hospitals > SIM_PHANTOM_MAX_HOSPITALS)
        return fl_fail(err, FL_EFORMAT, "phantom: %u hospitals, expected 1 to %d", n_hospitals,
                       SIM_PHANTOM_MAX_HOSPITALS);
    if (n_patients < 1 || n_patients > SIM_PHANTOM_MAX_PATIENTS)
        return fl_fail(err, FL_EFORMAT, "phantom: %u patients, expected 1 to %d", n_patients, SIM_PHANTOM_MAX_PATIENTS);
    fl_code code = fl_dir_make(out_dir, err);
    if (code != FL_OK)
        return code;
    tables t = {0};
    fl_buf_init(&t.manifest, (size_t)1 << 30);
    fl_buf_init(&t.labels, (size_t)1 << 28);
    fl_buf_init(&t.planted, (size_t)1 << 31);
    fl_buf_add_text(&t.manifest, "file,label,label_name,patient_id,hospital,split\n");
    fl_buf_add_text(&t.planted, "{\n  \"files\": {\n");
    for (unsigned h = 0; h < n_hospitals && code == FL_OK; h++)
        code = make_hospital(&t, out_dir, h, n_patients, seed, err);
    char path[FL_PATH_MAX];
    if (code == FL_OK)
        code = fl_buf_check(&t.manifest, "manifest.csv", err);
    if (code == FL_OK)
        code = fl_file_write(fl_path(path, out_dir, "manifest.csv"), t.manifest.bytes, t.manifest.size, 0644, err);
    if (code == FL_OK)
        code = write_planted(&t, out_dir, err);
    for (size_t i = 0; i < t.n_strings; i++)
        free(t.strings[i]);
    free(t.strings);
    fl_buf_fini(&t.manifest);
    fl_buf_fini(&t.labels);
    fl_buf_fini(&t.planted);
    return code;
}
