#include "sim/loop.h"

#include "base/clock.h"
#include "base/file.h"
#include "train/checkpoint.h"
#include "train/dpsgd.h"
#include <stdlib.h>
#include <string.h>

enum { KEEP_EVERY_MS = 3000 };

typedef struct running {
    const sim_loop *loop;
    nn_server server;
    nn_trainer **trainers; /* (n) */
    dp_noised *u;          /* of the phase's size */
    int64_t *sum;          /* n_weights: no phase learns more */
    fl_csprng random;
    int64_t kept_ms;
} running;

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static fl_code keep(running *r, bool now, fl_err *err)
{
    if (!r->loop->keep || (!now && fl_clock_mono_ms() - r->kept_ms < KEEP_EVERY_MS))
        return FL_OK;
    fl_code rc = nn_checkpoint_save(r->loop->keep, &r->server, err);
    r->kept_ms = fl_clock_mono_ms();
    return rc;
}

static fl_code begin(running *r, fl_err *err)
{
    const sim_loop *loop = r->loop;
    if (!loop->keep || !fl_file_exists(loop->keep))
        return nn_server_init(&r->server, loop->plan, loop->pretrained, loop->n_pretrained, NULL, err);
    return nn_checkpoint_load(&r->server, loop->plan, loop->keep, err);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static fl_code one_round(running *r, uint32_t round, fl_err *err)
{
    const sim_loop *loop = r->loop;
    const nn_phase *phase = nn_plan_phase(loop->plan, round);
    const size_t size = (size_t)phase->n_learned + phase->probe;
    uint64_t total = 0;
    if (!r->u || dp_noised_size(r->u) != size) {
        dp_noised_destroy(r->u);
        r->u = NULL;
        FL_TRY(dp_noised_create(&r->u, size, err));
    }
    memset(r->sum, 0, phase->n_learned * sizeof *r->sum);
    for (uint32_t i = 0; i < loop->n; i++) {
        FL_TRY(nn_trainer_update(r->trainers[i], r->u, nn_server_model(&r->server), loop->declared[i], round,
                                 &r->random, loop->stop, err));
        nn_server_sum(r->sum, dp_noised_values(r->u), phase->n_learned);
        total += loop->declared[i];
    }
    return nn_server_apply(&r->server, loop->plan, r->sum, total, round - 1, err);
}

static fl_code all_rounds(running *r, fl_err *err)
{
    const sim_loop *loop = r->loop;
    fl_code rc = FL_OK;
    if (r->server.rounds_done > 0 && loop->resumed)
        loop->resumed(loop->ctx, r->server.rounds_done);
    if (r->server.rounds_done < loop->plan->rounds)
        for (uint32_t i = 0; i < loop->n && rc == FL_OK; i++)
            rc = nn_trainer_create(&r->trainers[i], loop->plan, loop->datasets[i], loop->pool, err);
    while (rc == FL_OK && r->server.rounds_done < loop->plan->rounds) {
        rc = one_round(r, r->server.rounds_done + 1, err);
        if (rc == FL_OK)
            rc = keep(r, r->server.rounds_done == loop->plan->rounds, err);
        if (rc == FL_OK && loop->progress)
            loop->progress(loop->ctx, r->server.rounds_done);
    }
    if (rc == FL_EBUSY && loop->keep) {
        fl_err other;
        if (keep(r, true, &other))
            return fl_fail(err, other.code, "%s", other.text);
    }
    return rc;
}

fl_code sim_loop_run(float *weights, const sim_loop *loop, fl_err *err)
{
    running r = {.loop = loop, .kept_ms = fl_clock_mono_ms()};
    r.sum = malloc(loop->plan->n_weights * sizeof *r.sum);
    r.trainers = calloc(loop->n, sizeof(nn_trainer *));
    fl_csprng_init(&r.random);
    fl_code rc = r.sum && r.trainers ? begin(&r, err) : fl_fail(err, FL_EENV, "training: out of memory");
    if (rc == FL_OK)
        rc = all_rounds(&r, err);
    if (rc == FL_OK)
        nn_server_released_model(&r.server, weights);
    for (uint32_t i = 0; r.trainers && i < loop->n; i++)
        nn_trainer_destroy(r.trainers[i]);
    nn_server_fini(&r.server);
    fl_csprng_fini(&r.random);
    dp_noised_destroy(r.u);
    free(r.trainers);
    free(r.sum);
    return rc;
}
