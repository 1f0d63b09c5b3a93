/*
 * fl_nearest - which of some known words somebody probably meant (Levenshtein's distance).
 *
 *     fl_nearest n = {.word = typed};
 *     fl_nearest_try(&n, "rounds"); fl_nearest_try(&n, "deadline_s"); ...
 *     fl_nearest_best(&n)                   the nearest, or NULL when none is near enough to be worth naming
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

typedef struct fl_nearest {
    const char *word, *best;
    size_t distance;
} fl_nearest;

size_t fl_edit_distance(const char *a, const char *b); /* of the first 63 bytes of each */
void fl_nearest_try(fl_nearest *n, const char *candidate);
const char *fl_nearest_best(const fl_nearest *n);

#endif
