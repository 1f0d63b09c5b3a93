#include "node/commands_parts.h"
#include "node/data.h"
#include "node/policies.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MIN_PREFIX 8 /* hex digits of a hash that a person may type instead of 64 */

/* ---- plans ------------------------------------------------------------------------------------------------------ */

/* By a hash or the beginning of one, or (by_name) by the study's name. */
static fl_code find_plan(const node_state *state, const char *word, bool by_name, uint32_t *index, fl_err *err)
{
    uint32_t n = 0;
    size_t length = strlen(word);
    char hash[DP_HEX_SIZE];
    bool is_hash = length <= 64 && strspn(word, "0123456789abcdefABCDEF") == length;
    for (uint32_t i = 0; i < state->n_plans; i++) {
        const node_plan *p = &state->plans[i];
        dp_hash_text(hash, &p->hash);
        bool same = (is_hash && length >= MIN_PREFIX && strncasecmp(hash, word, length) == 0) ||
                    (by_name && strcmp(p->study, word) == 0);
        if (same && (n == 0 || !p->left)) {
            *index = i;
            n++;
        }
    }
    if (n == 1)
        return FL_OK;
    if (n > 1)
        return fl_fail(err, FL_EFORMAT, "plan %.64s: more than one begins so: type more of the hash", word);
    if (!by_name && (!is_hash || length < MIN_PREFIX))
        return fl_fail(err, FL_EFORMAT, "plan %.64s: type at least %d digits of the hash that `plan list` shows", word,
                       MIN_PREFIX);
    return fl_fail(err, FL_ENOTFOUND, "plan %.64s: is not here: `cordon-node plan list` shows what has arrived", word);
}

static const char *plan_word(const node_plan *p)
{
    if (!p->readable)
        return "unreadable";
    return p->left ? "left" : p->joined ? "joined" : p->approved ? "approved" : "not approved";
}

/* The policy as the file has it now, and the plans beside it. */
static fl_code read_policies(node_policies *policies, node_session *s, fl_err *err)
{
    FL_TRY(node_policies_load(policies, s->store->dir, err));
    if (!s->is_live) { /* the daemon keeps it true by itself */
        node_policies_apply(s->store, s->state, policies);
    }
    return FL_OK;
}

int node_plan_list_command(fl_cli *cli, node_session *s)
{
    fl_json *list = fl_json_array();
    char hash[DP_HEX_SIZE];
    bool json = fl_cli_flag(cli, "json");
    for (uint32_t i = 0; i < s->state->n_plans; i++) {
        const node_plan *p = &s->state->plans[i];
        dp_hash_text(hash, &p->hash);
        if (!json)
            fprintf(cli->out, "%s  %-24s %s\n", hash, p->study, plan_word(p));
        fl_json *row = fl_json_object();
        fl_json_set_text(row, "hash", hash);
        fl_json_set_text(row, "study", p->study);
        fl_json_set_text(row, "state", plan_word(p));
        fl_json_set_int(row, "rounds", p->rounds);
        fl_json_push(list, row);
    }
    if (json)
        return node_print_json(cli, list);
    if (s->state->n_plans == 0)
        fprintf(cli->out, "no plan yet: the node fetches them while it runs\n");
    fl_json_free(list);
    return 0;
}

/* --dataset, or the one it was approved for, or the first. */
static const char *wanted_dataset(const fl_cli *cli, const node_session *s, uint32_t plan,
                                  const node_policies *policies)
{
    const char *typed = fl_cli_value(cli, "dataset");
    return typed ? typed : node_plan_dataset(s->store, &s->state->plans[plan], policies);
}

int node_plan_show_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    node_policies policies;
    const node_policy *policy;
    uint32_t index;
    fl_json *j;
    if (find_plan(s->state, cli->args[0], true, &index, &err) || read_policies(&policies, s, &err) ||
        node_policy_of(&policy, &policies, wanted_dataset(cli, s, index, &policies), &err))
        return fl_cli_fail(cli, &err);
    if (fl_cli_flag(cli, "json")) {
        if (node_plan_json(&j, s->store, s->state, policy, index, &err))
            return fl_cli_fail(cli, &err);
        return node_print_json(cli, j);
    }
    if (node_plan_against_policy(cli->out, s->store, s->state, policy, index, &err))
        return fl_cli_fail(cli, &err);
    return 0;
}

int node_plan_approve_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    node_policies policies;
    const node_policy *policy;
    node_cost cost;
    uint32_t index;
    const char *dataset = fl_cli_value(cli, "dataset"), *by = fl_cli_value(cli, "by");
    if (!dataset)
        dataset = "main";
    fl_code rc = find_plan(s->state, cli->args[0], false, &index, &err);
    if (rc == FL_ENOTFOUND) {
        (void)fl_cli_fail(cli, &err);
        return fl_cli_value(cli, "wait") ? NODE_EXIT_LATER : fl_exit_code(rc);
    }
    if (rc || read_policies(&policies, s, &err) || node_policy_of(&policy, &policies, dataset, &err))
        return fl_cli_fail(cli, &err);
    const node_plan *p = &s->state->plans[index];
    bool before = node_approval_stands(s->store, p, policy);
    if (node_approve(s->store, s->state, policy, index, by, dataset, &err))
        return fl_cli_fail(cli, &err);
    node_policies_apply(s->store, s->state, &policies); /* of the others, too */
    s->changed = true;
    if (before) {
        fprintf(cli->out, "study %s: was approved before; nothing changes\n", p->study);
        return 0;
    }
    if (node_plan_cost(&cost, s->state, policy, index, s->state->filter.order, &err))
        return fl_cli_fail(cli, &err);
    fprintf(cli->out,
            "study %s: approved by %s for data set %s\n"
            "its %u rounds bring epsilon from %.3f to %.3f of %g at delta %g, for every patient and for life\n"
            "after them %llu more rounds like these would fit\n",
            p->study, by, dataset, p->rounds, cost.epsilon_promised, cost.epsilon_after, cost.epsilon_cap, cost.delta,
            (unsigned long long)(cost.room - cost.rounds));
    return 0;
}

int node_leave_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    uint32_t index = s->state->n_plans;
    for (uint32_t i = 0; i < s->state->n_plans; i++)
        if (strcmp(s->state->plans[i].study, cli->args[0]) == 0 &&
            (index == s->state->n_plans || !s->state->plans[i].left))
            index = i;
    if (index == s->state->n_plans) {
        (void)fl_fail(&err, FL_ENOTFOUND, "study %.63s: is not here: `cordon-node plan list` shows what is",
                      cli->args[0]);
        return fl_cli_fail(cli, &err);
    }
    node_plan *p = &s->state->plans[index];
    if (p->left) {
        fprintf(cli->out, "study %s: was left before\n", p->study);
        return 0;
    }
    p->left = true;
    fl_code rc = fl_db_begin(s->store->db, &err);
    if (rc == FL_OK) {
        rc = node_plan_put(s->store, s->state, index, &err);
        if (rc == FL_OK)
            rc = fl_db_commit(s->store->db, &err);
        if (rc)
            fl_db_rollback(s->store->db);
    }
    if (rc) {
        p->left = false;
        return fl_cli_fail(cli, &err);
    }
    s->changed = true;
    fprintf(cli->out, "study %s: left; what was spent stays spent%s\n", p->study,
            p->joined && !s->is_live ? "; the coordinator hears of it at the next `cordon-node run`" : "");
    return 0;
}

/* ---- budget ----------------------------------------------------------------------------------------------------- */

typedef struct study_budget {
    const char *study;
    double epsilon; /* of its debits, at the filter's delta, at the best order */
    uint64_t charged, acked, burned;
    bool has_plan;
    uint64_t rounds, may_run, fit;
} study_budget;

static void count_debits(study_budget *b, const node_session *s)
{
    const dp_ledger_state *l = led_state(s->store->ledger);
    for (size_t i = 0; i < l->n_debits; i++) {
        if (strcmp(l->debits[i].study, b->study) != 0)
            continue;
        b->charged++;
        b->acked += l->debits[i].state == DP_DEBIT_ACKED;
        b->burned += l->debits[i].state == DP_DEBIT_BURNED;
    }
}

static fl_code study_of(study_budget *b, const node_session *s, const node_policy *policy, uint32_t index, fl_err *err)
{
    const node_plan *p = &s->state->plans[index];
    node_cost cost;
    *b = (study_budget){.study = p->study, .has_plan = p->readable};
    count_debits(b, s);
    if (b->charged > 0)
        b->epsilon = dp_replay_epsilon(led_replay(s->store->ledger), p->study, s->state->filter.delta, NULL);
    if (!p->readable)
        return FL_OK;
    nn_plan *plan = malloc(sizeof *plan);
    fl_buf json;
    fl_buf_init(&json, NN_PLAN_MAX_BYTES);
    fl_code rc = plan ? node_plan_text(s->store, &json, index, err) : fl_fail(err, FL_EENV, "budget: out of memory");
    if (rc == FL_OK)
        rc = nn_plan_parse(plan, fl_buf_text(&json), json.size, err);
    if (rc == FL_OK)
        rc = node_plan_cost(&cost, s->state, policy, index, plan->renyi_order, err);
    fl_buf_fini(&json);
    free(plan);
    if (rc)
        return rc;
    b->rounds = p->rounds;
    b->may_run = p->left ? 0 : cost.rounds;
    b->fit = cost.room;
    return FL_OK;
}

static void put_study(fl_json *list, const study_budget *b)
{
    fl_json *row = fl_json_object();
    fl_json_set_text(row, "study", b->study);
    fl_json_set_real(row, "epsilon", b->epsilon);
    fl_json_set_int(row, "rounds_charged", (int64_t)b->charged);
    fl_json_set_int(row, "rounds_acknowledged", (int64_t)b->acked);
    fl_json_set_int(row, "rounds_burned", (int64_t)b->burned);
    if (b->has_plan) {
        fl_json_set_int(row, "rounds_planned", (int64_t)b->rounds);
        fl_json_set_int(row, "rounds_left", (int64_t)b->may_run);
        fl_json_set_int(row, "rounds_that_fit", (int64_t)b->fit);
    }
    fl_json_push(list, row);
}

static void print_study(FILE *out, const study_budget *b)
{
    fprintf(out, "study %s: epsilon %.3f by itself; %llu rounds charged (%llu acknowledged, %llu lost)", b->study,
            b->epsilon, (unsigned long long)b->charged, (unsigned long long)b->acked, (unsigned long long)b->burned);
    if (b->has_plan)
        fprintf(out, "; %llu of %llu may still run, %llu such rounds fit", (unsigned long long)b->may_run,
                (unsigned long long)b->rounds, (unsigned long long)b->fit);
    fputs("\n", out);
}

static void put_whole(fl_json *j, const node_session *s, const node_policy *policy)
{
    const dp_filter *f = &s->state->filter;
    const bool has = s->state->has_filter;
    fl_json_set_bool(j, "has_policy", has);
    fl_json_set_real(j, "epsilon_cap", has ? f->epsilon : strtod(policy->epsilon, NULL));
    fl_json_set_real(j, "delta", has ? f->delta : strtod(policy->delta, NULL));
    fl_json_set_real(j, "epsilon_spent", has ? dp_filter_epsilon_spent(f) : 0);
    fl_json_set_real(j, "epsilon_left",
                     has ? fmax(0, f->epsilon - dp_filter_epsilon_spent(f)) : strtod(policy->epsilon, NULL));
    if (has) {
        fl_json_set_int(j, "order", f->order);
        fl_json_set_real(j, "renyi_cap", f->cap);
        fl_json_set_real(j, "renyi_spent", f->spent);
    }
}

static void print_whole(FILE *out, const fl_json *j)
{
    double cap = 0, delta = 0, spent = 0, left = 0;
    int64_t order = 0;
    (void)fl_json_real(j, "epsilon_cap", &cap);
    (void)fl_json_real(j, "delta", &delta);
    (void)fl_json_real(j, "epsilon_spent", &spent);
    (void)fl_json_real(j, "epsilon_left", &left);
    fprintf(out, "for life: epsilon %g at delta %g; spent %.3f, left %.3f", cap, delta, spent, left);
    if (fl_json_int(j, "order", &order))
        fprintf(out, " (counted at order %lld)\n", (long long)order);
    else
        fprintf(out, " (no plan was approved yet)\n");
}

static bool has_study(const node_state *state, const char *name)
{
    for (uint32_t i = 0; i < state->n_plans; i++)
        if (strcmp(state->plans[i].study, name) == 0)
            return true;
    return false;
}

static fl_code gather(fl_json *j, FILE *out, const node_session *s, const node_policy *policy, const char *only,
                      fl_err *err)
{
    fl_json *list = fl_json_array();
    fl_json_set(j, "studies", list);
    if (only && !has_study(s->state, only))
        return fl_fail(err, FL_ENOTFOUND, "study %.63s: is not here: `cordon-node plan list` shows what is", only);
    put_whole(j, s, policy);
    if (out)
        print_whole(out, j);
    for (uint32_t i = 0; i < s->state->n_plans; i++) {
        study_budget b;
        if (only && strcmp(s->state->plans[i].study, only) != 0)
            continue;
        FL_TRY(study_of(&b, s, policy, i, err));
        put_study(list, &b);
        if (out)
            print_study(out, &b);
    }
    return FL_OK;
}

int node_budget_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    node_policies policies;
    bool json = fl_cli_flag(cli, "json");
    fl_json *j = fl_json_object();
    fl_code rc = read_policies(&policies, s, &err);
    if (rc == FL_OK)
        rc = gather(j, json ? NULL : cli->out, s, &policies.list[0], fl_cli_value(cli, "study"), &err);
    if (rc == FL_OK && json)
        return node_print_json(cli, j);
    fl_json_free(j);
    return rc ? fl_cli_fail(cli, &err) : 0;
}
