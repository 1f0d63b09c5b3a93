/* Files in; evidence, comparison with the coordinator, facts. */
#include "audit/report.h"

#include <stdlib.h>
#include <string.h>

static fl_code no_memory(fl_err *err)
{
    return fl_fail(err, FL_EENV, "report: no memory left");
}

const char *report_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static fl_code read_file(report_file *f, const char *path, const char *key, fl_err *err)
{
    FL_TRY(audit_evidence_read(&f->evidence, path, key, err));
    f->name = report_base_name(path);
    f->hash = fl_sha256(f->evidence.file.bytes, f->evidence.file.size);
    return FL_OK;
}

static void hospital_free(report_hospital *h)
{
    if (!h)
        return;
    audit_evidence_fini(&h->file.evidence);
    free(h->charges);
    free(h);
}

static void coordinator_free(report_coordinator *c)
{
    if (c)
        audit_evidence_fini(&c->file.evidence);
    free(c);
}

void report_fini(report *r)
{
    for (size_t i = 0; i < r->n_hospitals; i++) {
        hospital_free(r->hospitals[i]);
        if (r->charts)
            audit_chart_fini(&r->charts[i]);
    }
    coordinator_free(r->coordinator);
    free(r->hospitals);
    free(r->charts);
}

static fl_code read_coordinator(report *r, const char *path, const char *key, fl_err *err)
{
    if (r->coordinator)
        return fl_fail(err, FL_EFORMAT, "%s: a second coordinator's ledger: give one", path);
    r->coordinator = calloc(1, sizeof *r->coordinator);
    if (!r->coordinator)
        return no_memory(err);
    FL_TRY(read_file(&r->coordinator->file, path, key, err));
    const dp_ledger_state *s = dp_replay_state(r->coordinator->file.evidence.replay);
    if (!s->is_coordinator)
        return fl_fail(err, FL_EFORMAT, "%s: is the ledger of a node, expected the coordinator's", path);
    r->coordinator->name = s->node;
    return FL_OK;
}

static fl_code read_one(report *r, const char *path, const char *key, fl_err *err)
{
    report_hospital *h = calloc(1, sizeof *h);
    if (!h)
        return no_memory(err);
    fl_code code = read_file(&h->file, path, key, err);
    const dp_ledger_state *s = code == FL_OK ? dp_replay_state(h->file.evidence.replay) : NULL;
    if (s && s->is_coordinator) {
        hospital_free(h);
        return read_coordinator(r, path, key, err);
    }
    for (size_t i = 0; s && i < r->n_hospitals && code == FL_OK; i++) {
        if (strcmp(r->hospitals[i]->name, s->node) == 0)
            code = fl_fail(err, FL_EFORMAT, "%s: a second ledger of %s: give each hospital's newest one", path,
                           s->node);
    }
    if (code != FL_OK) {
        hospital_free(h);
        return code;
    }
    h->name = s->node;
    r->hospitals[r->n_hospitals++] = h;
    return FL_OK;
}

/* How many of the coordinator's RECEIVED lines of this hospital its own ledger has, byte for byte. */
static void count_agreement(report_hospital *h, const report_coordinator *c)
{
    const dp_ledger_state *s = dp_replay_state(c->file.evidence.replay);
    for (size_t i = 0; i < s->n_received; i++) {
        const dp_received *r = &s->received[i];
        if (strcmp(r->member, h->name) != 0)
            continue;
        const dp_debit *d = dp_replay_debit(h->file.evidence.replay, r->debit);
        h->n_received++;
        h->n_matched += d && strcmp(d->update_hash, r->update_hash) == 0;
        h->n_restored += d && d->is_restored && d->update_hash[0] == 0;
    }
}

static fl_code compare_hospitals(report *r, fl_err *err)
{
    audit_evidence **nodes = calloc(r->n_hospitals + 1, sizeof *nodes);
    if (!nodes)
        return no_memory(err);
    for (size_t i = 0; i < r->n_hospitals; i++)
        nodes[i] = &r->hospitals[i]->file.evidence;
    const fl_code rc = audit_check_together(nodes, r->n_hospitals, err);
    free(nodes);
    return rc;
}

static fl_code compare(report *r, fl_err *err)
{
    audit_evidence *c = r->coordinator ? &r->coordinator->file.evidence : NULL;
    if (c)
        FL_TRY(audit_check_coordinator(c, err));
    for (size_t i = 0; i < r->n_hospitals; i++) {
        FL_TRY(audit_check_node(&r->hospitals[i]->file.evidence, c, err));
        if (c)
            count_agreement(r->hospitals[i], r->coordinator);
    }
    return compare_hospitals(r, err);
}

/* With its folder: for files whose names are the same. */
static const char *longer_name(const char *path)
{
    const char *name = report_base_name(path);
    if (name - path < 2)
        return name;
    for (name--; name > path && name[-1] != '/';)
        name--;
    return name;
}

static void name_files(report *r)
{
    report_file *files[REPORT_HOSPITALS + 1];
    size_t n = 0;
    bool is_double = false;
    for (size_t i = 0; i < r->n_hospitals; i++)
        files[n++] = &r->hospitals[i]->file;
    if (r->coordinator)
        files[n++] = &r->coordinator->file;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++)
            is_double |= strcmp(files[i]->name, files[j]->name) == 0;
    }
    for (size_t i = 0; i < n && is_double; i++)
        files[i]->name = longer_name(files[i]->evidence.path);
}

static int by_name(const void *a, const void *b)
{
    const report_hospital *x = *(report_hospital *const *)a, *y = *(report_hospital *const *)b;
    return strcmp(x->name, y->name);
}

fl_code report_read(report *r, char *const *paths, size_t n, const char *coordinator, const char *key, fl_err *err)
{
    if (key && n > 1)
        return fl_fail(err, FL_EFORMAT, "--key: belongs to one ledger: put LEDGER.jsonl.pub beside each instead");
    r->hospitals = calloc(n, sizeof *r->hospitals);
    if (!r->hospitals)
        return no_memory(err);
    if (coordinator)
        FL_TRY(read_coordinator(r, coordinator, NULL, err));
    for (size_t i = 0; i < n; i++)
        FL_TRY(read_one(r, paths[i], key, err));
    qsort(r->hospitals, r->n_hospitals, sizeof *r->hospitals, by_name);
    name_files(r);
    FL_TRY(compare(r, err));
    for (size_t i = 0; i < r->n_hospitals; i++)
        FL_TRY(report_facts_hospital(r->hospitals[i], err));
    return r->coordinator ? report_facts_coordinator(r->coordinator, err) : FL_OK;
}

uint64_t report_findings(const report *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->n_hospitals; i++)
        n += r->hospitals[i]->file.evidence.findings.n + r->hospitals[i]->file.evidence.findings.n_more;
    if (r->coordinator)
        n += r->coordinator->file.evidence.findings.n + r->coordinator->file.evidence.findings.n_more;
    return n;
}
