/*
 * sim_bar - how far a long piece of work is: one line on stderr, when that is a terminal and nothing otherwise.
 *
 *     federation  [##########----------] round 12 of 100, centring   3.1 rounds/s   0:28 left
 *
 * The rate is that of this process, not of what an earlier one did. NO_COLOR (not empty): without colour. Any thread.
 */
#ifndef SIM_BAR_H
#define SIM_BAR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct sim_bar {
    const char *what, *unit;
    uint64_t total, done, first; /* in parts of a unit: `parts` of them make one */
    uint32_t parts;
    int64_t began_ms, shown_ms;
    bool is_on;
    pthread_mutex_t mutex; /* guards done, shown_ms and the line */
} sim_bar;

/* what: "federation"; unit: "round"; total units, of which `done` were done before. Ends with sim_bar_end. */
void sim_bar_begin(sim_bar *b, const char *what, const char *unit, uint64_t total, uint64_t done, uint32_t parts);
void sim_bar_step(sim_bar *b, const char *detail); /* one part more; detail: words for it, or NULL */
void sim_bar_was(sim_bar *b, uint64_t parts);      /* so many were done before this process began */
void sim_bar_end(sim_bar *b);                      /* the line is taken away */

#endif
