#include "privacy/gauss.h"
#include "privacy/pld.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* tests/data/pld_closed_forms.txt: scripts/gen/pld_reference.py, 50 digits. Read as doubles, so 1e-15 is allowed for. */
static void closed_forms_lie_in_their_brackets(void **state)
{
    (void)state;
    FILE *f = fopen(CORDON_SOURCE_DIR "/tests/data/pld_closed_forms.txt", "r");
    assert_non_null(f);
    char line[200];
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        double delta, expected, low, high;
        dp_segment s;
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%lf %lf %" SCNu64 " %lf %lf", &s.q, &s.sigma, &s.steps, &delta, &expected), 5);
        assert_int_equal(dp_pld_epsilon(&low, &high, &s, 1, delta, NULL), FL_OK);
        if (!(low <= expected * (1 + 1e-14) && expected * (1 - 1e-14) <= high && high - low <= 1e-8 * high + 1e-13))
            fail_msg("%s: %.17g to %.17g", line, low, high);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 264);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_forms_lie_in_their_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
