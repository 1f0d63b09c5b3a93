#include "node/commands_parts.h"
#include "node/data.h"
#include "node/policies.h"

#include <string.h>

static const char *dataset_of(const fl_cli *cli)
{
    const char *name = fl_cli_value(cli, "dataset");
    return name ? name : "main";
}

static fl_json *report_json(const char *dataset, const node_data_report *r)
{
    fl_json *j = fl_json_object();
    fl_json_set_text(j, "dataset", dataset);
    fl_json_set_int(j, "files", r->n_files);
    fl_json_set_int(j, "taken", r->n_taken);
    fl_json_set_int(j, "duplicates", r->n_duplicates);
    fl_json_set_int(j, "refused", r->n_refused);
    fl_json_set_int(j, "unreadable", r->n_unreadable);
    fl_json_set_int(j, "hidden", r->n_hidden);
    fl_json_set_int(j, "bad_rows", r->n_bad_rows);
    fl_json_set_int(j, "labels_without_image", r->n_without_image);
    return j;
}

static void print_report(FILE *out, const char *dataset, const node_data_report *r)
{
    fprintf(out, "data set %s: %u files: %u taken, %u here already, %u refused", dataset, r->n_files, r->n_taken,
            r->n_duplicates, r->n_refused);
    if (r->n_hidden)
        fprintf(out, ", %u hidden left alone", r->n_hidden);
    if (r->n_bad_rows)
        fprintf(out, "; %u rows of the labels cannot be used", r->n_bad_rows);
    if (r->n_without_image)
        fprintf(out, "; %u labels without image", r->n_without_image);
    fputs("\n", out);
}

int node_data_add_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    node_policies policies;
    const node_policy *policy;
    node_data_report report = {0};
    const node_data_options options = {.one_image_per_patient = fl_cli_flag(cli, "one-image-per-patient")};
    fl_code rc = node_policies_load(&policies, s->store->dir, &err);
    if (rc == FL_OK)
        rc = node_policy_of(&policy, &policies, dataset_of(cli), &err);
    if (rc == FL_OK)
        rc = node_data_add(s->store, dataset_of(cli), fl_cli_value(cli, "labels"), cli->args, (size_t)cli->n_args,
                           &options, policy, cli->err, &report, &err);
    if (rc == FL_OK || report.n_files > 0) {
        if (fl_cli_flag(cli, "json"))
            (void)node_print_json(cli, report_json(dataset_of(cli), &report));
        else
            print_report(cli->out, dataset_of(cli), &report);
    }
    if (rc == FL_EFORMAT && report.n_refused > 0) /* each file has its own line already */
        return fl_exit_code(rc);
    return rc ? fl_cli_fail(cli, &err) : node_data_exit(&report);
}

int node_data_check_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    fl_json *check;
    uint32_t problems;
    node_policies policies;
    const node_policy *policy = NULL;
    if (node_policies_load(&policies, s->store->dir, &err))
        return fl_cli_fail(cli, &err);
    if (node_policy_of(&policy, &policies, dataset_of(cli), NULL))
        policy = NULL; /* its section was taken out: the images are still there to be looked at */
    if (node_data_check(&check, &problems, s->store, dataset_of(cli), policy, &err))
        return fl_cli_fail(cli, &err);
    if (fl_cli_flag(cli, "json"))
        (void)node_print_json(cli, check);
    else {
        node_data_print_check(cli->out, check);
        fl_json_free(check);
    }
    return problems ? 1 : 0;
}

int node_data_list_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    fl_json *list;
    if (node_data_list(&list, s->store, &err))
        return fl_cli_fail(cli, &err);
    if (fl_cli_flag(cli, "json"))
        return node_print_json(cli, list);
    node_data_print_list(cli->out, list);
    fl_json_free(list);
    return 0;
}

int node_data_remove_command(fl_cli *cli, node_session *s)
{
    fl_err err = {0};
    uint32_t n;
    fl_code rc = node_data_remove(s->store, dataset_of(cli), fl_cli_value(cli, "patient"), fl_cli_value(cli, "issuer"),
                                  &n, &err);
    if (n > 0)
        fprintf(cli->out,
                "data set %s: %u image%s of the patient removed; what training used before stays in past rounds\n",
                dataset_of(cli), n, n == 1 ? "" : "s");
    return rc ? fl_cli_fail(cli, &err) : 0;
}
