/* Clocks. Deadlines use the monotonic one; the wall clock is for certificates and for the minute of a ledger entry. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t fl_clock_mono_ms(void);
int64_t fl_clock_wall_s(void);                     /* seconds since 1970 */
void fl_clock_text(char text[24], int64_t wall_s); /* 2026-03-01T12:34Z, to the minute */

#endif
