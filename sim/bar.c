#include "sim/bar.h"

#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH = 24, EVERY_MS = 100, LINE = 256 };

static unsigned columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

static void show(sim_bar *b, const char *detail)
{
    char line[LINE], left[32] = "", cells[WIDTH + 1] = "";
    const double seconds = (double)(fl_clock_mono_ms() - b->began_ms) / 1000;
    const double rate = seconds > 0 ? (double)(b->done - b->first) / b->parts / seconds : 0;
    const unsigned filled = b->total ? (unsigned)(WIDTH * b->done / b->total) : 0;
    const char *no_color = getenv("NO_COLOR");
    const bool color = !no_color || !no_color[0];
    if (rate > 0) {
        const unsigned long long s = (unsigned long long)((double)(b->total - b->done) / b->parts / rate + 0.5);
        snprintf(left, sizeof left, "   %llu:%02llu left", s / 60, s % 60);
    }
    for (unsigned i = 0; i < WIDTH; i++)
        cells[i] = i < filled ? '#' : '-';
    const int n = snprintf(line, sizeof line, "%s %llu of %llu%s%s   %.*f %ss/s%s", b->unit,
                           (unsigned long long)(b->done / b->parts), (unsigned long long)(b->total / b->parts),
                           detail ? ", " : "", detail ? detail : "", rate < 10 ? 2 : 0, rate, b->unit, left);
    const unsigned head = (unsigned)strlen(b->what) + WIDTH + 6, room = columns();
    if (n > 0 && head + (unsigned)n >= room)
        line[room > head + 1 && room - head - 1 < LINE ? room - head - 1 : 0] = 0;
    fprintf(stderr, "\r\033[K%s  [%s%.*s%s%s] %s", b->what, color ? "\033[32m" : "", (int)filled, cells,
            color ? "\033[0m" : "", cells + filled, line);
    fflush(stderr);
}

void sim_bar_begin(sim_bar *b, const char *what, const char *unit, uint64_t total, uint64_t done, uint32_t parts)
{
    *b = (sim_bar){.what = what,
                   .unit = unit,
                   .total = total * parts,
                   .done = done * parts,
                   .first = done * parts,
                   .parts = parts,
                   .began_ms = fl_clock_mono_ms(),
                   .is_on = isatty(STDERR_FILENO)};
    pthread_mutex_init(&b->mutex, NULL);
    if (b->is_on)
        show(b, NULL);
}

void sim_bar_step(sim_bar *b, const char *detail)
{
    pthread_mutex_lock(&b->mutex);
    if (b->done < b->total)
        b->done++;
    const int64_t now = fl_clock_mono_ms();
    if (b->is_on && now - b->shown_ms >= EVERY_MS) {
        b->shown_ms = now;
        show(b, detail);
    }
    pthread_mutex_unlock(&b->mutex);
}

void sim_bar_was(sim_bar *b, uint64_t parts)
{
    pthread_mutex_lock(&b->mutex);
    b->done += parts;
    b->first += parts;
    pthread_mutex_unlock(&b->mutex);
}

void sim_bar_end(sim_bar *b)
{
    if (b->is_on)
        fprintf(stderr, "\r\033[K");
    pthread_mutex_destroy(&b->mutex);
}
