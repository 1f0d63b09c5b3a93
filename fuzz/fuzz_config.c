/* Settings that are accepted, printed as a sample and read again are the same settings. */
#include "base/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct settings {
    char name[40];
    int64_t count;
    double rate;
    char sigma[32];
    bool open;
    int optimiser;
} settings;

#define AT(field) offsetof(settings, field), sizeof(((settings *)0)->field)

// clang-format off
static const fl_config_row rows[] = {
    {"study",   "name",      FL_CONFIG_TEXT,    AT(name),      0, 0,    "",     NULL,                "A name",   false},
    {"rounds",  "count",     FL_CONFIG_INT,     AT(count),     1, 1e6,  "10",   NULL,                "A number", true},
    {"privacy", "rate",      FL_CONFIG_REAL,    AT(rate),      0, 0,    "0.01", NULL,                "A rate",   false},
    {"privacy", "sigma",     FL_CONFIG_DECIMAL, AT(sigma),     0, 1000, "auto", NULL,                "A factor", true},
    {"server",  "open",      FL_CONFIG_BOOL,    AT(open),      0, 0,    "no",   NULL,                "A switch", false},
    {"server",  "optimiser", FL_CONFIG_CHOICE,  AT(optimiser), 0, 0,    "sgd",  "sgd|momentum|adam", "A choice", false},
};
// clang-format on
#define N_ROWS (sizeof rows / sizeof *rows)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_err err;
    settings first = {0}, second = {0};
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    fl_code code = fl_config_parse(&first, rows, N_ROWS, text, "fuzz", &err);
    free(text);
    if (code != FL_OK) {
        if (strncmp(err.text, "fuzz:", 5) != 0) /* every mistake has its place */
            abort();
        return 0;
    }
    fl_buf sample;
    fl_buf_init(&sample, 100000);
    fl_config_sample(&sample, rows, N_ROWS, &first);
    if (fl_config_parse(&second, rows, N_ROWS, fl_buf_text(&sample), "again", NULL) != FL_OK ||
        strcmp(first.name, second.name) != 0 || first.count != second.count || first.rate != second.rate ||
        strcmp(first.sigma, second.sigma) != 0 || first.open != second.open || first.optimiser != second.optimiser)
        abort();
    fl_buf_fini(&sample);
    return 0;
}
