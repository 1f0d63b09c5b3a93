#include "tests/audit/well_formed.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 64, NAME = 24 };

static bool is_reference(const char *p)
{
    static const char *const all[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strncmp(p, all[i], strlen(all[i])) == 0)
            return true;
    }
    return false;
}

const char *not_well_formed(const char *page)
{
    char open[DEPTH][NAME];
    size_t depth = 0;
    for (const char *p = page; (p = strpbrk(p, "<&"));) {
        if (*p == '&') {
            if (!is_reference(p))
                return p;
            p++;
            continue;
        }
        const char *end = strpbrk(p + 1, "<>");
        if (!end || *end != '>')
            return p;
        size_t n = strcspn(p + 1 + (p[1] == '/'), " >/");
        if (p[1] == '/') {
            if (depth == 0 || strlen(open[depth - 1]) != n || strncmp(open[depth - 1], p + 2, n) != 0)
                return p;
            depth--;
        } else if (p[1] != '!' && end[-1] != '/') {
            if (depth == DEPTH || n >= NAME)
                return p;
            snprintf(open[depth++], NAME, "%.*s", (int)n, p + 1);
        }
        p = end;
    }
    return depth == 0 ? NULL : page + strlen(page);
}
