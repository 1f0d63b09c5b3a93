#include "tests/coordinator/lines.h"

void lines_add(hospital_lines *l, const char *line)
{
    assert_true(dp_forest_append(&l->forest, line, strlen(line)));
}

void lines_head(hospital_lines *l, wire_message *m, const char *name, const fl_sign_key *key)
{
    char origin[DP_ORIGIN_MAX];
    fl_buf note;
    const uint64_t size = l->forest.size;
    const fl_hash root = dp_forest_root(&l->forest, size);
    *m = (wire_message){.kind = WIRE_HEAD};
    dp_origin(origin, name);
    fl_buf_init(&note, WIRE_NOTE_MAX);
    dp_checkpoint_note(&note, origin, size, &root, key);
    strcpy(m->u.head.note, fl_buf_text(&note));
    fl_buf_fini(&note);
    const uint32_t n = l->held <= size ? dp_forest_consistency(&l->forest, l->consistency, l->held, size) : 0;
    m->u.head.consistency = (wire_proof){.hashes = l->consistency, .n = n};
}

void lines_release(hospital_lines *l, wire_message *m, const char *name)
{
    static dp_entry e;
    const fl_hash none = {{0}};
    fl_err err;
    fl_buf line;
    e = (dp_entry){.kind = DP_RELEASE, .round = m->round ? m->round : 1, .bytes = m->u.released.update_bytes};
    strcpy(e.node, name);
    strcpy(e.study, m->study);
    strcpy(e.t, "2026-01-01T00:00Z");
    strcpy(e.debit, m->debit);
    dp_hash_text(e.update_hash, &m->u.released.update_hash);
    l->seq = l->forest.size + 1;
    fl_buf_init(&line, WIRE_LINE_MAX);
    assert_ok(dp_entry_compose(&line, &e, l->seq, &none, &err), err);
    strcpy(l->entry, fl_buf_text(&line));
    fl_buf_fini(&line);
    lines_add(l, l->entry);
    m->u.released.entry = l->entry;
}

void lines_prove(hospital_lines *l, wire_message *m)
{
    m->u.released.entry = l->entry;
    m->u.released.inclusion.hashes = l->inclusion;
    m->u.released.inclusion.n = dp_forest_inclusion(&l->forest, l->inclusion, l->seq, l->held);
}
