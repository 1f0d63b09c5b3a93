#include "tests/audit/retell.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* What composes; the strictest reader would take it. */
static bool composes(const ledger_maker *m, const dp_entry *e)
{
    fl_buf line;
    fl_buf_init(&line, 2 * DP_LINE_MAX);
    bool ok = dp_entry_compose(&line, e, m->seq + 1, &m->head, NULL) == FL_OK;
    fl_buf_fini(&line);
    return ok;
}

static size_t next_line(const char **line, const char *end)
{
    const char *newline = memchr(*line, '\n', (size_t)(end - *line));
    return newline ? (size_t)(newline - *line) : (size_t)(end - *line);
}

static size_t lines_that_differ(const fl_buf *a, const fl_buf *b)
{
    const char *p = fl_buf_text(a), *p_end = p + a->size, *q = fl_buf_text(b), *q_end = q + b->size;
    size_t n = 0;
    while (p < p_end || q < q_end) {
        size_t n_p = p < p_end ? next_line(&p, p_end) : 0, n_q = q < q_end ? next_line(&q, q_end) : 0;
        n += p >= p_end || q >= q_end || n_p != n_q || memcmp(p, q, n_p) != 0;
        p += p < p_end ? n_p + 1 : 0;
        q += q < q_end ? n_q + 1 : 0;
    }
    return n;
}

size_t retell(ledger_maker *m, const ledger_maker *original, retell_edit edit, void *context)
{
    static dp_entry e;
    const char *p = fl_buf_text(&original->text), *end = p + original->text.size;
    for (size_t n = 1; p < end; n++) {
        size_t length = next_line(&p, end);
        if (dp_entry_parse(&e, p, length, NULL) == FL_OK && edit(context, &e, n) && composes(m, &e))
            maker_add(m, &e);
        p += length + 1;
    }
    size_t differ = lines_that_differ(&original->text, &m->text);
    maker_seal(m);
    return differ;
}

static void list(fl_buf *text, const audit_evidence *e)
{
    for (size_t i = 0; text && i < e->findings.n; i++) {
        const audit_finding *f = &e->findings.items[i];
        fl_buf_printf(text, "%s%s%" PRIu64 ": %s\n", f->ledger ? f->ledger : "", f->ledger ? " " : "", f->entry,
                      f->what);
    }
}

size_t findings_of(fl_buf *text, const fl_buf *node, const fl_buf *hub)
{
    audit_evidence n = {0}, c = {0};
    fl_err err;
    fl_code code = audit_evidence_take(&n, "node", node->bytes, node->size, NULL, &err);
    if (code == FL_OK && hub)
        code = audit_evidence_take(&c, "hub", hub->bytes, hub->size, NULL, &err);
    bool is_hub = code == FL_OK && dp_replay_state(n.replay)->is_coordinator;
    if (code == FL_OK)
        code = is_hub ? audit_check_coordinator(&n, &err) : audit_check_node(&n, hub ? &c : NULL, &err);
    if (code == FL_OK && hub)
        code = audit_check_coordinator(&c, &err);
    assert(code == FL_OK || code == FL_EFORMAT);
    size_t found = code == FL_OK ? n.findings.n + n.findings.n_more + c.findings.n + c.findings.n_more : SIZE_MAX;
    if (code == FL_OK) {
        list(text, &n);
        list(text, &c);
    }
    audit_evidence_fini(&n);
    audit_evidence_fini(&c);
    return found;
}
