#include "node/heads.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char node_heads_schema[] =
    "CREATE TABLE IF NOT EXISTS peer_head(study TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,"
    " root BLOB NOT NULL, PRIMARY KEY(study, name));";

static fl_code fits(bool *ok, node_store *s, const char *study, const wire_site *site, char why[200], fl_err *err)
{
    fl_query q;
    size_t n;
    FL_TRY(fl_query_open(&q, s->db, "SELECT study, size, root FROM peer_head WHERE name = ?", err));
    fl_bind_text(&q, 1, site->name);
    while (*ok && fl_query_row(&q)) {
        const bool same_study = strcmp(fl_column_text(&q, 0), study) == 0;
        const uint64_t size = (uint64_t)fl_column_int(&q, 1);
        const void *root = fl_column_blob(&q, 2, &n);
        if (same_study && site->ledger_size < size) {
            *ok = false;
            snprintf(why, 200, "the ledger of %s has %" PRIu64 " lines, it had %" PRIu64, site->name, site->ledger_size,
                     size);
        } else if (site->ledger_size == size && (n != FL_HASH_SIZE || memcmp(root, site->ledger_root.bytes, n) != 0)) {
            *ok = false;
            snprintf(why, 200, "the ledger of %s of %" PRIu64 " lines is another one than before", site->name, size);
        }
    }
    return fl_query_close(&q, err);
}

static fl_code keep(node_store *s, const char *study, const wire_site *site, fl_err *err)
{
    fl_query q;
    FL_TRY(
        fl_query_open(&q, s->db, "INSERT OR REPLACE INTO peer_head(study, name, size, root) VALUES(?, ?, ?, ?)", err));
    fl_bind_text(&q, 1, study);
    fl_bind_text(&q, 2, site->name);
    fl_bind_int(&q, 3, (int64_t)site->ledger_size);
    fl_bind_blob(&q, 4, site->ledger_root.bytes, FL_HASH_SIZE);
    return fl_query_run(&q, err);
}

fl_code node_heads_see(node_store *s, const char *study, const wire_announce *a, bool *is_split, char why[200],
                       fl_err *err)
{
    bool ok = true;
    why[0] = 0;
    for (uint32_t i = 0; i < a->n_sites && ok;
         i++) /* size 0, none known, is a head like others: it may not come back */
        FL_TRY(fits(&ok, s, study, &a->sites[i], why, err));
    *is_split = !ok;
    if (!ok)
        return FL_OK;
    FL_TRY(fl_db_begin(s->db, err));
    fl_code rc = FL_OK;
    for (uint32_t i = 0; i < a->n_sites && rc == FL_OK; i++)
        rc = keep(s, study, &a->sites[i], err);
    if (rc == FL_OK)
        rc = fl_db_commit(s->db, err);
    if (rc)
        fl_db_rollback(s->db);
    return rc;
}
