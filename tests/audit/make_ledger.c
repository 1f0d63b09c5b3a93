/*
 * make_ledger DIR NODES ROUNDS - legal, sealed ledgers of any length, for measuring and for tests of scripts:
 * DIR/hub.jsonl of the coordinator "hub", DIR/a.jsonl, DIR/b.jsonl .. of up to three nodes, and FILE.pub beside each.
 */
#include "base/file.h"
#include "tests/privacy/ledger_maker.h"

#include <stdio.h>
#include <stdlib.h>

static bool put(const char *dir, const char *name, const fl_buf *bytes)
{
    char path[FL_PATH_MAX];
    fl_err err;
    if (fl_file_write(fl_path(path, dir, name), bytes->bytes, bytes->size, 0644, &err) == FL_OK)
        return true;
    fprintf(stderr, "%s\n", err.text);
    return false;
}

static bool write_out(const char *dir, const char *party, ledger_maker *m)
{
    char name[80];
    fl_buf pub;
    fl_buf_init(&pub, 4096);
    maker_seal(m);
    dp_export_public(&pub, m->vkey);
    snprintf(name, sizeof name, "%s.jsonl", party);
    bool ok = put(dir, name, &m->text);
    snprintf(name, sizeof name, "%s.jsonl.pub", party);
    ok = ok && put(dir, name, &pub);
    fl_buf_fini(&pub);
    maker_fini(m);
    return ok;
}

int main(int argc, char **argv)
{
    static const char *const parties[] = {"a", "b", "c"};
    unsigned nodes = argc == 4 ? (unsigned)atoi(argv[2]) : 0, rounds = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    if (nodes < 1 || nodes > 3 || rounds > 100000) {
        fprintf(stderr, "usage: make_ledger DIR NODES ROUNDS (1 to 3 nodes, up to 100000 rounds)\n");
        return 2;
    }
    ledger_maker m;
    bool ok = true;
    for (unsigned i = 0; i < nodes && ok; i++) {
        node_ledger(&m, parties[i], rounds);
        ok = write_out(argv[1], parties[i], &m);
    }
    coordinator_ledger(&m, parties, nodes, rounds);
    return ok && write_out(argv[1], "hub", &m) ? 0 : 3;
}
