#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t fl_clock_mono_ms(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    assert(rc == 0);
    (void)rc;
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t fl_clock_wall_s(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_REALTIME, &t);
    assert(rc == 0);
    (void)rc;
    return t.tv_sec;
}

void fl_clock_text(char text[24], int64_t wall_s)
{
    static const int64_t last = 253402300799; /* 9999-12-31T23:59:59Z */
    time_t seconds = wall_s < 0 ? 0 : wall_s > last ? last : wall_s;
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(text, 24, "%Y-%m-%dT%H:%MZ", &tm) == 0)
        strcpy(text, "0000-00-00T00:00Z");
}
