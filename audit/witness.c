#include "audit/witness.h"

#include "audit/audit.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "privacy/cosign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHY_REWRITTEN[] = "the ledger was rewritten, forked or rolled back after a witness had seen it";
static const char WHY_KEY[] = "somebody else could have written this ledger";

const fl_cli_option audit_witness_init_options[] = {
    {"name", "NAME", "make a key, STORE.key and STORE.pub, with which this witness cosigns the heads it records",
     false},
    {0},
};
const fl_cli_option audit_witness_add_options[] = {
    {"key", "K.pub", "the public key to believe (default: beside the ledger, else the store's own, else GENESIS)",
     false},
    {"coordinator", "C.jsonl", "the coordinator's ledger: explains the heads of lines that a RESTORE charged for",
     false},
    {"members", NULL, "of a coordinator's ledger: the newest head of every hospital in it too", false},
    {0},
};
const fl_cli_option audit_witness_check_options[] = {
    {"key", "K.pub", "the public key to believe, as in verify", false},
    {"coordinator", "C.jsonl", "the coordinator's ledger: explains the heads of lines that a RESTORE charged for",
     false},
    {0},
};
const fl_cli_option audit_witness_list_options[] = {
    {"json", NULL, "one JSON document on stdout", false},
    {0},
};

/* --- comparing --- */

static void check_one(audit_evidence *e, const witness_head *h, size_t number)
{
    char hash[AUDIT_KEY_HASH];
    audit_findings *list = &e->findings;
    if (audit_is_lost(e, h->size, &h->root))
        return;
    if (h->is_signed) {
        audit_key_hash(hash, h->vkey);
        const char *own = audit_key_named(e, hash);
        if (!own || strcmp(own, h->vkey) != 0)
            audit_find(list, 0, WHY_KEY,
                       "the witness's head %zu, of %s, is signed with a key that is none of this ledger's", number,
                       h->t);
    }
    if (h->size > e->n_lines)
        audit_find(list, 0, WHY_REWRITTEN,
                   "the witness's head %zu, of %s, is over %" PRIu64 " entries, this ledger has %" PRIu64, number, h->t,
                   h->size, e->n_lines);
    else if (!audit_is_head(e, h->size, &h->root))
        audit_find(list, 0, WHY_REWRITTEN, "the witness's head %zu, of %s, is over other lines up to entry %" PRIu64,
                   number, h->t, h->size);
}

size_t audit_check_witness(audit_evidence *e, const witness_store *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->heads[i].party, dp_replay_state(e->replay)->node) != 0)
            continue;
        check_one(e, &s->heads[i], i + 1);
        n++;
    }
    e->has_witness = true;
    e->n_witnessed = n;
    return n;
}

/* A head of the same size and another root: two ledgers under one name. 0: none, else its number. */
static size_t contradicted(const witness_store *s, const char *party, uint64_t size, const fl_hash *root)
{
    for (size_t i = 0; i < s->n; i++) {
        const witness_head *h = &s->heads[i];
        if (h->size == size && strcmp(h->party, party) == 0 && !fl_hash_equal(&h->root, root))
            return i + 1;
    }
    return 0;
}

static bool has_head(const witness_store *s, const char *party, uint64_t size, bool is_signed)
{
    for (size_t i = 0; i < s->n; i++) {
        const witness_head *h = &s->heads[i];
        if (h->size == size && strcmp(h->party, party) == 0 && (h->is_signed || !is_signed))
            return true;
    }
    return false;
}

/* --- the store's file --- */

fl_code audit_witness_read(witness_store *s, const char *path, fl_err *err)
{
    fl_buf bytes;
    *s = (witness_store){0};
    fl_buf_init(&bytes, WITNESS_STORE_MAX);
    fl_code code = fl_file_read(&bytes, path, err);
    if (code == FL_OK)
        code = witness_store_parse(s, fl_buf_text(&bytes), bytes.size, path, err);
    fl_buf_fini(&bytes);
    return code;
}

static fl_code beside(char path[FL_PATH_MAX], const char *store, const char *ending, fl_err *err)
{
    int n = snprintf(path, FL_PATH_MAX, "%s%s", store, ending);
    return n > 0 && n < FL_PATH_MAX ? FL_OK : fl_fail(err, FL_EFORMAT, "%.64s...: the path is too long", store);
}

static fl_code make_key(char vkey[DP_VKEY_MAX], const char *store, const char *name, fl_err *err)
{
    char path[FL_PATH_MAX], origin[DP_ORIGIN_MAX];
    fl_sign_key key = {0};
    fl_buf public;
    size_t n = strlen(name);
    if (n < 1 || n >= DP_NAME_SIZE ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != n)
        return fl_fail(err, FL_EFORMAT, "--name: \"%.80s\": must be 1 to 63 of A-Z a-z 0-9 . _ -", name);
    fl_buf_init(&public, 4096);
    fl_code code = fl_sign_key_make(&key, err);
    if (code == FL_OK)
        code = beside(path, store, ".key", err);
    if (code == FL_OK)
        code = fl_sign_key_save(&key, path, err);
    if (code == FL_OK) {
        dp_origin(origin, name);
        dp_vkey_text(vkey, origin, key.public_key);
        dp_export_public(&public, vkey);
        code = beside(path, store, ".pub", err);
    }
    if (code == FL_OK)
        code = fl_file_write(path, public.bytes, public.size, 0644, err);
    fl_sign_key_fini(&key);
    fl_buf_fini(&public);
    return code;
}

int audit_witness_init(fl_cli *cli)
{
    fl_err err;
    witness_store s = {0};
    char vkey[DP_VKEY_MAX] = "";
    const char *path = cli->args[0], *name = fl_cli_value(cli, "name");
    fl_code code = FL_OK;
    if (fl_file_exists(path))
        code = fl_fail(&err, FL_EREFUSED, "%s: is there already: heads are added to it with witness add", path);
    if (code == FL_OK && name)
        code = make_key(vkey, path, name, &err);
    if (code == FL_OK)
        code = witness_store_begin(&s, vkey, &err);
    if (code == FL_OK)
        code = fl_file_write(path, s.text.bytes, s.text.size, 0644, &err);
    witness_store_fini(&s);
    if (code != FL_OK)
        return fl_cli_fail(cli, &err);
    fprintf(cli->out, "%s: no heads yet%s%s\n", path, vkey[0] ? "; the key of this witness: " : "", vkey);
    return 0;
}

/* --- adding --- */

typedef struct addition {
    fl_cli *cli;
    const char *path; /* of the store */
    witness_store store;
    fl_sign_key key; /* the store's, when it has one */
    char origin[DP_ORIGIN_MAX];
    char t[24];
    unsigned n_added, n_contradictions;
} addition;

static fl_code load_own_key(addition *a, fl_err *err)
{
    char path[FL_PATH_MAX], vkey[DP_VKEY_MAX];
    uint8_t public_key[FL_PUBLIC_KEY_SIZE];
    if (!a->store.vkey[0])
        return FL_OK;
    FL_TRY(beside(path, a->path, ".key", err));
    FL_TRY(fl_sign_key_load(&a->key, path, err));
    if (!dp_vkey_parse(a->origin, public_key, a->store.vkey))
        return fl_fail(err, FL_EFORMAT, "%s: damaged: its key is none", a->path);
    dp_vkey_text(vkey, a->origin, a->key.public_key);
    return strcmp(vkey, a->store.vkey) == 0
               ? FL_OK
               : fl_fail(err, FL_EREFUSED, "%s: is not the key of the store %s", path, a->path);
}

static void contradiction(addition *a, const witness_head *h, size_t number)
{
    a->n_contradictions++;
    fprintf(a->cli->out, "%s: head of %" PRIu64 " entries from %s: the store's head %zu is over other lines: %s\n",
            h->party, h->size, h->from, number, WHY_REWRITTEN);
}

/* Records a head whose signature, if it has one, is verified; what is there already is not written twice. */
static fl_code record(addition *a, const witness_head *h, const fl_buf *note, fl_err *err)
{
    fl_buf signed_note;
    size_t number = contradicted(&a->store, h->party, h->size, &h->root);
    if (number) {
        contradiction(a, h, number);
        return FL_OK;
    }
    if (has_head(&a->store, h->party, h->size, h->is_signed)) {
        fprintf(a->cli->out, "%s: head of %" PRIu64 " entries: known\n", h->party, h->size);
        return FL_OK;
    }
    fl_buf_init(&signed_note, DP_LINE_MAX);
    if (h->is_signed)
        fl_buf_add(&signed_note, note->bytes, note->size);
    if (h->is_signed && a->store.vkey[0])
        dp_checkpoint_cosign(&signed_note, a->origin, &a->key);
    fl_code code = witness_store_add(&a->store, h, fl_buf_text(&signed_note), signed_note.size, err);
    fl_buf_fini(&signed_note);
    if (code == FL_OK) {
        a->n_added++;
        fprintf(a->cli->out, "%s: head of %" PRIu64 " entries recorded, from %s\n", h->party, h->size, h->from);
    }
    return code;
}

static fl_code add_export(addition *a, audit_evidence *e, fl_err *err)
{
    witness_head h = {.is_signed = true};
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (e->findings.n_more > 0)
        return fl_fail(err, FL_EREFUSED, "%s: has more than %d findings: see cordon-audit verify", e->path,
                       AUDIT_FINDINGS_MAX);
    if (!e->is_sealed)
        return fl_fail(err, FL_EREFUSED,
                       "%s: is not sealed by its owner's signature over these lines: see cordon-audit verify", e->path);
    size_t before = e->findings.n;
    audit_check_witness(e, &a->store);
    for (size_t i = before; i < e->findings.n; i++) {
        a->n_contradictions++;
        fprintf(a->cli->out, "%s: %s: %s\n", s->node, e->findings.items[i].what, e->findings.items[i].why);
    }
    if (e->findings.n > before || e->findings.n_more > 0)
        return FL_OK; /* not recorded */
    memcpy(h.party, s->node, sizeof h.party);
    memcpy(h.vkey, s->key, sizeof h.vkey);
    memcpy(h.t, a->t, sizeof h.t);
    snprintf(h.from, sizeof h.from, "export");
    h.size = e->n_lines;
    h.root = e->roots[e->n_lines - 1];
    return record(a, &h, &e->note, err);
}

/* --- the hospitals in a coordinator's ledger --- */

/* The newest head of a hospital, as its coordinator's ledger has it: seen in a ROUND_OPEN, and signed in a RECEIVED. */
typedef struct member_heads {
    witness_head seen, noted;
    uint8_t public_key[FL_PUBLIC_KEY_SIZE]; /* the ROSTER's */
    bool has_key;
    char note[FL_BASE64_SIZE(DP_NOTE_MAX)];
} member_heads;

typedef struct members {
    dp_map names;
    member_heads *items;
    size_t n;
    bool failed;
} members;

enum { MEMBERS_MAX = 4096 };

static member_heads *member_of(members *m, const char *name)
{
    uint32_t at = dp_map_find(&m->names, 0, name, "", 0);
    if (at != DP_MAP_NONE)
        return &m->items[at];
    member_heads *moved = m->n < MEMBERS_MAX ? realloc(m->items, (m->n + 1) * sizeof *moved) : NULL;
    if (moved)
        m->items = moved;
    if (!moved || !dp_map_put(&m->names, 0, name, "", 0, (uint32_t)m->n)) {
        m->failed = true;
        return NULL;
    }
    member_heads *item = &m->items[m->n++];
    memset(item, 0, sizeof *item);
    snprintf(item->seen.party, sizeof item->seen.party, "%s", name);
    memcpy(item->noted.party, item->seen.party, sizeof item->noted.party);
    return item;
}

static void gather(void *context, const dp_entry *e)
{
    members *m = context;
    if (e->kind == DP_RECEIVED) {
        member_heads *item = e->checkpoint[0] ? member_of(m, e->member) : NULL;
        if (item)
            memcpy(item->note, e->checkpoint, sizeof item->note);
        return;
    }
    for (uint32_t i = 0; i < e->n_members; i++) {
        const dp_member *member = &e->members[i];
        member_heads *item = member_of(m, member->node);
        if (!item)
            return;
        if (e->kind == DP_ROSTER)
            item->has_key = fl_hex_decode(item->public_key, FL_PUBLIC_KEY_SIZE, member->hash);
        else if (member->n >= item->seen.size && member->n > 0 && dp_hash_from_text(&item->seen.root, member->hash)) {
            item->seen.size = member->n;
            item->seen.entry = e->seq;
        }
    }
}

static fl_code add_noted(addition *a, member_heads *item, fl_err *err)
{
    uint8_t bytes[DP_NOTE_MAX];
    char origin[DP_ORIGIN_MAX];
    fl_buf note;
    witness_head *h = &item->noted;
    size_t n = fl_base64_decode(bytes, sizeof bytes, item->note, strlen(item->note));
    if (!item->has_key || n == 0 || n == SIZE_MAX)
        return FL_OK;
    dp_origin(origin, h->party);
    dp_vkey_text(h->vkey, origin, item->public_key);
    h->is_signed = true;
    fl_err why;
    if (witness_note_verify((const char *)bytes, n, h->vkey, &h->size, &h->root, &why) != FL_OK) {
        a->n_contradictions++;
        fprintf(a->cli->out, "%s: the head in the coordinator's last RECEIVED: %s\n", h->party, why.text);
        return FL_OK;
    }
    fl_buf_init(&note, DP_NOTE_MAX);
    fl_buf_add(&note, bytes, n);
    fl_code code = record(a, h, &note, err);
    fl_buf_fini(&note);
    return code;
}

static fl_code add_members(addition *a, audit_evidence *e, fl_err *err)
{
    members m = {0};
    const dp_ledger_state *s = dp_replay_state(e->replay);
    if (!s->is_coordinator)
        return fl_fail(err, FL_EFORMAT, "%s: --members: is the ledger of a node, expected a coordinator's", e->path);
    fl_code code = audit_evidence_each(e, AUDIT_KIND(ROSTER) | AUDIT_KIND(ROUND_OPEN) | AUDIT_KIND(RECEIVED), NULL,
                                       gather, &m, err);
    if (code == FL_OK && m.failed)
        code = fl_fail(err, FL_EENV, "%s: no memory left, or more than %d hospitals", e->path, MEMBERS_MAX);
    for (size_t i = 0; i < m.n && code == FL_OK; i++) {
        member_heads *item = &m.items[i];
        memcpy(item->seen.t, a->t, sizeof item->seen.t);
        memcpy(item->noted.t, a->t, sizeof item->noted.t);
        snprintf(item->seen.from, sizeof item->seen.from, "%s", s->node);
        snprintf(item->noted.from, sizeof item->noted.from, "%s", s->node);
        code = add_noted(a, item, err);
        if (code == FL_OK && item->seen.size > 0)
            code = record(a, &item->seen, NULL, err);
    }
    free(m.items);
    dp_map_fini(&m.names);
    return code;
}

/* The ledger, and what the coordinator's says of its RESTOREs, if that one was given. */
static fl_code read_ledger(audit_evidence *e, fl_cli *cli, const char *path, fl_err *err)
{
    audit_evidence c = {0};
    const char *coordinator = fl_cli_value(cli, "coordinator");
    fl_code code = audit_evidence_read(e, path, fl_cli_value(cli, "key"), err);
    if (code != FL_OK || !coordinator || dp_replay_state(e->replay)->is_coordinator)
        return code;
    code = audit_evidence_read(&c, coordinator, NULL, err);
    if (code == FL_OK && !dp_replay_state(c.replay)->is_coordinator)
        code = fl_fail(err, FL_EFORMAT, "%s: is the ledger of a node, expected the coordinator's", coordinator);
    if (code == FL_OK)
        code = audit_check_restore(e, &c, err);
    audit_evidence_fini(&c);
    return code;
}

static fl_code add_ledger(addition *a, const char *path, fl_err *err)
{
    audit_evidence e = {0};
    fl_code code = read_ledger(&e, a->cli, path, err);
    if (code == FL_OK)
        code = add_export(a, &e, err);
    if (code == FL_OK && fl_cli_flag(a->cli, "members") && a->n_contradictions == 0)
        code = add_members(a, &e, err);
    audit_evidence_fini(&e);
    return code;
}

/* --- a head alone --- */

/* The newest key with which the store knows the party; NULL: none. */
static const char *known_key(const witness_store *s, const char *party)
{
    for (size_t i = s->n; i-- > 0;) {
        if (s->heads[i].is_signed && strcmp(s->heads[i].party, party) == 0)
            return s->heads[i].vkey;
    }
    return NULL;
}

static fl_code add_note(addition *a, const fl_buf *note, const char *path, fl_err *err)
{
    witness_head h = {.is_signed = true};
    const char *text = fl_buf_text(note), *key_path = fl_cli_value(a->cli, "key");
    size_t n_first = strcspn(text, "\n"), n_prefix = strlen("cordon/");
    if (fl_cli_flag(a->cli, "members"))
        return fl_fail(err, FL_EFORMAT, "%s: --members: is a head alone, expected a coordinator's ledger", path);
    if (strncmp(text, "cordon/", n_prefix) != 0 || n_first - n_prefix >= sizeof h.party || n_first == n_prefix)
        return fl_fail(err, FL_EFORMAT, "%s: neither a ledger nor a signed head", path);
    memcpy(h.party, text + n_prefix, n_first - n_prefix);
    snprintf(h.from, sizeof h.from, "note");
    memcpy(h.t, a->t, sizeof h.t);
    const char *known = known_key(&a->store, h.party);
    if (key_path)
        FL_TRY(audit_read_key(h.vkey, key_path, h.party, err));
    else if (known)
        snprintf(h.vkey, sizeof h.vkey, "%s", known);
    else
        return fl_fail(err, FL_EREFUSED, "%s: the store knows no key of %s: give --key", path, h.party);
    FL_TRY(witness_note_verify(text, note->size, h.vkey, &h.size, &h.root, err));
    return record(a, &h, note, err);
}

static fl_code add_file(addition *a, const char *path, fl_err *err)
{
    fl_buf head;
    fl_buf_init(&head, DP_LINE_MAX);
    fl_code code = fl_file_read(&head, path, err);
    bool is_head = code == FL_OK && head.size > 0 && head.bytes[0] != '{';
    if (is_head)
        code = add_note(a, &head, path, err);
    else if (code == FL_OK || code == FL_EFORMAT) /* too long for a head */
        code = add_ledger(a, path, err);
    fl_buf_fini(&head);
    return code;
}

int audit_witness_add(fl_cli *cli)
{
    fl_err err;
    addition a = {.cli = cli, .path = cli->args[0]};
    fl_clock_text(a.t, fl_clock_wall_s());
    fl_code code = audit_witness_read(&a.store, a.path, &err);
    if (code == FL_OK)
        code = load_own_key(&a, &err);
    for (int i = 1; i < cli->n_args && code == FL_OK; i++)
        code = add_file(&a, cli->args[i], &err);
    if (code == FL_OK && a.n_added > 0)
        code = fl_file_write(a.path, a.store.text.bytes, a.store.text.size, 0644, &err);
    fl_sign_key_fini(&a.key);
    witness_store_fini(&a.store);
    if (code != FL_OK)
        return fl_cli_fail(cli, &err);
    return a.n_contradictions > 0 ? 1 : 0;
}

/* --- checking, listing --- */

static fl_code check_ledger(fl_cli *cli, const witness_store *s, const char *path, bool *ok, fl_err *err)
{
    audit_evidence e = {0};
    fl_code code = read_ledger(&e, cli, path, err);
    if (code == FL_OK) {
        size_t n = audit_check_witness(&e, s);
        const char *name = dp_replay_state(e.replay)->node;
        for (size_t i = 0; i < e.findings.n; i++)
            fprintf(cli->out, "%s: %s: %s\n", name, e.findings.items[i].what, e.findings.items[i].why);
        bool is_clean = e.findings.n == 0 && e.findings.n_more == 0;
        fprintf(cli->out, "%s: %" PRIu64 " entries, %zu heads in the store: %s\n", name, e.n_lines, n,
                !is_clean ? "findings"
                : n       ? "verified"
                          : "nothing to compare with");
        *ok &= is_clean;
    }
    audit_evidence_fini(&e);
    return code;
}

int audit_witness_check(fl_cli *cli)
{
    fl_err err;
    witness_store s;
    bool ok = true;
    fl_code code = audit_witness_read(&s, cli->args[0], &err);
    for (int i = 1; i < cli->n_args && code == FL_OK; i++)
        code = check_ledger(cli, &s, cli->args[i], &ok, &err);
    witness_store_fini(&s);
    if (code != FL_OK)
        return fl_cli_fail(cli, &err);
    return ok ? 0 : 1;
}

static void list_json(fl_cli *cli, const witness_store *s)
{
    fl_json *top = fl_json_object(), *heads = fl_json_array();
    for (size_t i = 0; i < s->n; i++) {
        const witness_head *h = &s->heads[i];
        char root[DP_HEX_SIZE];
        fl_json *row = fl_json_object();
        dp_hash_text(root, &h->root);
        fl_json_set_text(row, "party", h->party);
        fl_json_set_int(row, "size", (int64_t)h->size);
        fl_json_set_text(row, "root", root);
        fl_json_set_text(row, "t", h->t);
        fl_json_set_text(row, "from", h->from);
        fl_json_set_bool(row, "signed", h->is_signed);
        fl_json_push(heads, row);
    }
    fl_json_set(top, "heads", heads);
    if (s->vkey[0])
        fl_json_set_text(top, "key", s->vkey);
    else
        fl_json_set_null(top, "key");
    fl_buf text;
    fl_buf_init(&text, 1 << 28);
    fl_json_print(&text, top, 2);
    fprintf(cli->out, "%s\n", fl_buf_text(&text));
    fl_buf_fini(&text);
    fl_json_free(top);
}

int audit_witness_list(fl_cli *cli)
{
    fl_err err;
    witness_store s;
    fl_code code = audit_witness_read(&s, cli->args[0], &err);
    if (code == FL_OK && fl_cli_flag(cli, "json")) {
        list_json(cli, &s);
    } else if (code == FL_OK) {
        for (size_t i = 0; i < s.n; i++) {
            const witness_head *h = &s.heads[i];
            fprintf(cli->out, "%s %s %" PRIu64 " entries, from %s%s\n", h->t, h->party, h->size, h->from,
                    h->is_signed ? "" : ", not signed");
        }
        fprintf(cli->out, "%zu heads\n", s.n);
    }
    witness_store_fini(&s);
    return code == FL_OK ? 0 : fl_cli_fail(cli, &err);
}
