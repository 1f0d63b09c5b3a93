#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static fl_level threshold = FL_INFO; /* written once, under `once` */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char program[32]; /* under mutex */

static void read_threshold(void)
{
    const char *wanted = getenv("FL_LOG_LEVEL");
    for (int i = FL_DEBUG; wanted && i <= FL_ERROR; i++) {
        if (strcasecmp(wanted, level_names[i]) == 0)
            threshold = (fl_level)i;
    }
}

void fl_log_program(const char *name)
{
    pthread_mutex_lock(&mutex);
    snprintf(program, sizeof program, "%s", name ? name : "");
    pthread_mutex_unlock(&mutex);
}

static size_t head(char *line, size_t size, fl_level level, const char *module)
{
    time_t now = time(NULL);
    struct tm tm;
    char when[24] = "";
    if (gmtime_r(&now, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    int n = snprintf(line, size, "%s%s%s %s %s ", program, program[0] ? " " : "", when, level_names[level], module);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

void fl_log(fl_level level, const char *module, const char *format, ...)
{
    pthread_once(&once, read_threshold);
    if (level < threshold)
        return;
    int saved = errno;
    char line[1024];
    pthread_mutex_lock(&mutex);
    size_t n = head(line, sizeof line - 1, level, module);
    va_list args;
    va_start(args, format);
    int more = vsnprintf(line + n, sizeof line - 1 - n, format, args);
    va_end(args);
    if (more > 0)
        n = n + (size_t)more < sizeof line - 1 ? n + (size_t)more : sizeof line - 2;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[n++] = '\n';
    for (size_t done = 0; done < n;) {
        ssize_t k = write(STDERR_FILENO, line + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break; /* nobody listens: a log line is not worth an error */
        done += (size_t)k;
    }
    pthread_mutex_unlock(&mutex);
    errno = saved;
}
