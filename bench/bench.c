#include "bench/bench.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

double bench_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double bench_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t n)
{
    assert(n >= 1);
    qsort(values, n, sizeof *values, by_value);
    return values[(n - 1) / 2];
}

int bench_print(fl_cli *cli, fl_json *j)
{
    fl_buf text;
    fl_buf_init(&text, 1 << 20);
    fl_json_print(&text, j, 0);
    fprintf(cli->out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(j);
    return 0;
}
