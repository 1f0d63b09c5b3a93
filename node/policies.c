#include "node/policies.h"

#include "proto/msg/envelope.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "[data ct]": its section and its data set; false for every other line. */
static bool header(char section[16], char dataset[WIRE_NAME_MAX], const char *line, size_t n)
{
    static const char *const sections[] = {"data", "limits", "images", "budget"};
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r'))
        n--;
    if (n < 4 || line[0] != '[' || line[n - 1] != ']')
        return false;
    const char *space = memchr(line, ' ', n);
    const size_t n_section = space ? (size_t)(space - line) - 1 : 0, n_name = space ? n - n_section - 3 : 0;
    if (!space || n_section >= 16 || n_name < 1 || n_name >= WIRE_NAME_MAX)
        return false;
    memcpy(section, line + 1, n_section);
    section[n_section] = 0;
    memcpy(dataset, space + 1, n_name);
    dataset[n_name] = 0;
    bool known = false;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        known |= strcmp(section, sections[i]) == 0;
    return known && wire_name_ok(dataset);
}

/* The text as one data set reads it: lines of others are blank, so that line numbers stay. wanted "": the first one. */
static void view(fl_buf *out, const char *text, const char *wanted)
{
    char section[16], dataset[WIRE_NAME_MAX];
    bool keep = true;
    for (const char *p = text; *p;) {
        const char *end = strchr(p, '\n');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (header(section, dataset, p, n)) {
            keep = strcmp(dataset, wanted) == 0;
            if (keep)
                fl_buf_printf(out, "[%s]", section);
        } else {
            if (p[0] == '[') /* a section of the first data set; the budget is everybody's */
                keep = wanted[0] == 0 || strncmp(p, "[budget]", 8) == 0;
            if (keep)
                fl_buf_add(out, p, n);
        }
        fl_buf_add_text(out, "\n");
        p += n + (end != NULL);
    }
}

static fl_code parse_one(node_policy *p, const char *text, const char *dataset, const char *name, fl_err *err)
{
    fl_buf part;
    fl_buf_init(&part, 2 * NODE_POLICY_MAX_BYTES);
    view(&part, text, dataset);
    fl_code rc = fl_buf_check(&part, name, err);
    if (rc == FL_OK)
        rc = node_policy_parse(p, fl_buf_text(&part), name, err);
    fl_buf_fini(&part);
    if (rc == FL_OK && dataset[0]) {
        if (strcmp(p->dataset, "main") != 0 && strcmp(p->dataset, dataset) != 0)
            return fl_fail(err, FL_EFORMAT, "%s: [data %s] dataset: is %s: the name stands in the section", name,
                           dataset, p->dataset);
        snprintf(p->dataset, sizeof p->dataset, "%s", dataset);
    }
    return rc;
}

static bool has(const node_policies *p, const char *dataset)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->list[i].dataset, dataset) == 0)
            return true;
    return false;
}

/* Each [data NAME] is a data set. */
static fl_code find_others(node_policies *out, const char *text, const char *name, fl_err *err)
{
    char section[16], dataset[WIRE_NAME_MAX];
    unsigned line = 1;
    for (const char *p = text; *p; line++) {
        const char *end = strchr(p, '\n');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (header(section, dataset, p, n) && strcmp(section, "budget") == 0)
            return fl_fail(err, FL_EFORMAT, "%s:%u: [budget %s]: the budget is one for all data sets: use [budget]",
                           name, line, dataset);
        if (header(section, dataset, p, n) && strcmp(section, "data") == 0) {
            if (has(out, dataset))
                return fl_fail(err, FL_EFORMAT, "%s:%u: [data %s]: the data set is there already", name, line, dataset);
            if (out->n == NODE_MAX_DATASETS)
                return fl_fail(err, FL_EFORMAT, "%s:%u: [data %s]: at most %d data sets", name, line, dataset,
                               NODE_MAX_DATASETS);
            FL_TRY(parse_one(&out->list[out->n], text, dataset, name, err));
            out->n++;
        }
        p += n + (end != NULL);
    }
    return FL_OK;
}

static fl_code check_strays(const node_policies *out, const char *text, const char *name, fl_err *err)
{
    char section[16], dataset[WIRE_NAME_MAX];
    unsigned line = 1;
    for (const char *p = text; *p; line++) {
        const char *end = strchr(p, '\n');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (header(section, dataset, p, n) && (!has(out, dataset) || strcmp(dataset, out->list[0].dataset) == 0))
            return fl_fail(err, FL_EFORMAT, "%s:%u: [%s %s]: there is no [data %s]", name, line, section, dataset,
                           dataset);
        p += n + (end != NULL);
    }
    return FL_OK;
}

fl_code node_policies_parse(node_policies *out, const char *text, const char *name, fl_err *err)
{
    memset(out, 0, sizeof *out);
    FL_TRY(parse_one(&out->list[0], text, "", name, err));
    out->n = 1;
    FL_TRY(find_others(out, text, name, err));
    return check_strays(out, text, name, err);
}

fl_code node_policies_load(node_policies *out, const char *dir, fl_err *err)
{
    char path[FL_PATH_MAX];
    fl_buf text;
    fl_code rc = node_policy_text(&text, path, dir, err);
    if (rc == FL_OK)
        rc = node_policies_parse(out, fl_buf_text(&text), path, err);
    fl_buf_fini(&text);
    return rc;
}

static const node_policy *named(const node_policies *p, const char *dataset)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->list[i].dataset, dataset) == 0)
            return &p->list[i];
    return NULL;
}

fl_code node_policy_of(const node_policy **out, const node_policies *p, const char *dataset, fl_err *err)
{
    *out = named(p, dataset);
    return *out ? FL_OK
                : fl_fail(err, FL_EREFUSED, "data set %.63s: has no policy: write [data %.63s] into policy.ini",
                          dataset, dataset);
}

const char *node_plan_dataset(const node_store *s, const node_plan *p, const node_policies *policies)
{
    char hash[DP_HEX_SIZE];
    dp_hash_text(hash, &p->hash);
    const dp_approval *a = p->approved ? dp_replay_approval(led_replay(s->ledger), p->study, hash) : NULL;
    return a ? a->dataset : policies->list[0].dataset;
}

fl_code node_policies_record(node_store *s, node_state *state, const node_policies *p, bool *appended, fl_err *err)
{
    *appended = false;
    for (uint32_t i = 0; i < p->n; i++) {
        bool one = false;
        if (dp_replay_policy(led_replay(s->ledger), p->list[i].dataset))
            FL_TRY(node_policy_record(s, state, &p->list[i], 0, &one, err));
        *appended |= one;
    }
    return FL_OK;
}

void node_policies_apply(const node_store *s, node_state *state, const node_policies *p)
{
    for (uint32_t i = 0; i < state->n_plans; i++) {
        node_plan *plan = &state->plans[i];
        const node_policy *policy = named(p, node_plan_dataset(s, plan, p));
        node_policy_apply_to(state, i, policy ? policy : &p->list[0]);
        if (plan->approved && (!policy || !node_approval_stands(s, plan, policy)))
            plan->within_policy = false;
    }
}
