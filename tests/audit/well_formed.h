/* Is it XML as far as our pages use it? */
#ifndef TESTS_WELL_FORMED_H
#define TESTS_WELL_FORMED_H

/* Every element is closed, in order, and no text or attribute holds a bare < or &. NULL, or where it is not so. */
const char *not_well_formed(const char *page);

#endif
