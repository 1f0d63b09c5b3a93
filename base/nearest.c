#include "base/nearest.h"

#include <string.h>

#define LONGEST 63

size_t fl_edit_distance(const char *a, const char *b)
{
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    size_t row[LONGEST + 1]; /* row[j]: distance of the first i bytes of a from the first j of b */
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

void fl_nearest_try(fl_nearest *n, const char *candidate)
{
    size_t distance = fl_edit_distance(n->word, candidate);
    if (!n->best || distance < n->distance) {
        n->best = candidate;
        n->distance = distance;
    }
}

const char *fl_nearest_best(const fl_nearest *n)
{
    size_t length = strlen(n->word);
    return n->best && n->distance <= 1 + length / 3 && n->distance < length ? n->best : NULL;
}
