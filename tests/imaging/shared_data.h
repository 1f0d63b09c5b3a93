/* Where the real files are: CORDON_DATA, or shared/data beside the tree; tests that need them skip without. */
#ifndef TESTS_IMAGING_SHARED_DATA_H
#define TESTS_IMAGING_SHARED_DATA_H

#include "base/file.h"
#include "base/json.h"
#include "tests/base/test.h"

static inline char *shared_path(char out[FL_PATH_MAX], const char *name)
{
    const char *dir = getenv("CORDON_DATA");
    return fl_path(out, dir && *dir ? dir : CORDON_SOURCE_DIR "/../shared/data", name);
}

static inline bool shared_missing(const char *name)
{
    char path[FL_PATH_MAX];
    bool missing = !fl_file_exists(shared_path(path, name));
    if (missing)
        printf("%s is not here: name the folder in CORDON_DATA\n", path);
    return missing;
}

static inline fl_json *shared_json(const char *name)
{
    char path[FL_PATH_MAX];
    fl_err err;
    fl_buf text;
    fl_json *j = NULL;
    fl_buf_init(&text, 16 << 20);
    assert_ok(fl_file_read(&text, shared_path(path, name), &err), err);
    assert_ok(fl_json_parse(&j, fl_buf_text(&text), text.size, name, &err), err);
    fl_buf_fini(&text);
    return j;
}

#define DECODER CORDON_BIN_DIR "/cordon-decode"

#endif
