#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}

fl_code fl_fail(fl_err *err, fl_code code, const char *format, ...)
{
    assert(code != FL_OK);
    if (!err)
        return code;
    char text[sizeof err->text]; /* apart, because an argument may be err->text */
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0)
        strcpy(text, "a message that cannot be formatted");
    va_end(args);
    one_line(text);
    memcpy(err->text, text, sizeof text);
    err->code = code;
    return code;
}

fl_code fl_fail_in(fl_err *err, const char *format, ...)
{
    assert(err && err->code != FL_OK);
    char prefix[sizeof err->text];
    va_list args;
    va_start(args, format);
    if (vsnprintf(prefix, sizeof prefix, format, args) < 0)
        prefix[0] = 0;
    va_end(args);
    return fl_fail(err, err->code, "%s: %s", prefix, err->text);
}

int fl_exit_code(fl_code code)
{
    switch (code) {
    case FL_OK:
        return 0;
    case FL_EREFUSED:
        return 1;
    case FL_EFORMAT:
    case FL_ENOTFOUND:
        return 2;
    case FL_EENV:
    case FL_EBUSY:
        return 3;
    }
    assert(!"a code that exists");
    return 3;
}
