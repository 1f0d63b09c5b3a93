/*
 * A report of whatever bytes: when they are a ledger at all, there is a page, it is well-formed, and it is not larger than
 * a page of bounded lists can be. And the bytes as a name: nothing of it gets out of its quote.
 */
#include "audit/report.h"
#include "tests/audit/well_formed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE_MAX = 1 << 20 };

static void render(audit_doc *d)
{
    fl_buf page;
    fl_buf_init(&page, 64 << 20);
    fl_code code = audit_doc_html(&page, d, NULL);
    assert(code == FL_OK && page.size < PAGE_MAX && !not_well_formed(fl_buf_text(&page)));
    fl_buf_clear(&page);
    code = audit_doc_text(&page, d, NULL);
    assert(code == FL_OK && page.size < PAGE_MAX);
    fl_buf_fini(&page);
}

static void as_a_name(const uint8_t *data, size_t size)
{
    audit_doc d = {.title = strdup("t")};
    char *text = malloc(size + 1);
    assert(text && d.title);
    memcpy(text, data, size);
    text[size] = 0;
    audit_shown shown = audit_show(text);
    assert(strcspn(shown.text + 1, "\1\2\3\4\5\6\n") == strlen(shown.text) - 2);
    audit_doc_add(&d, DOC_PARA, DOC_PLAIN, "%s", shown.text);
    audit_doc_add(&d, DOC_PARA, DOC_PLAIN, "%.*s", size < 1000 ? (int)size : 1000, text);
    render(&d);
    free(text);
    audit_doc_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[40], *paths[] = {path};
    report r = {0};
    audit_doc d = {0};
    as_a_name(data, size);
    int fd = memfd_create("ledger", MFD_CLOEXEC);
    assert(fd >= 0);
    ssize_t n = write(fd, data, size);
    assert(n == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fl_code code = report_read(&r, paths, 1, NULL, NULL, NULL);
    if (code == FL_OK) {
        code = report_document(&d, &r, NULL);
        assert(code == FL_OK);
        render(&d);
    }
    audit_doc_fini(&d);
    report_fini(&r);
    close(fd);
    return 0;
}
