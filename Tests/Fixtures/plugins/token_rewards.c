/* A reward of single tokens, and an objective that reads it. */
#include "keel.h"
#include <stdlib.h>

/* The score is 1; each token is worth its own id. */
static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    keel_array tokens;
    if (keel_column(c, "tokens", &tokens))
        return KEEL_E_MISSING;
    size_t cells = (size_t)(tokens.shape[0] * tokens.shape[1]);
    const int32_t *ids = keel_i32(&tokens);
    double *worth = (double *)malloc((cells + 1) * sizeof *worth);
    if (!worth)
        return keel_fail(c, KEEL_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < cells; i++)
        worth[i] = ids[i];
    keel_array given = keel_array_f64(worth, tokens.shape, 2);
    keel_status status = keel_put(c, "token_rewards", &given);
    free(worth);
    for (size_t i = 0; i < n; i++)
        out[i] = 1;
    return status;
}
static const keel_component per_token = KEEL_REWARD(.name = "per_token",
                                                    .help = "A token is worth its id.",
                                                    KEEL_NEEDS("tokens"),
                                                    KEEL_GIVES("token_rewards"), .score = score);

/* -token_reward logprob; counts the cells that are not `scale` times the token's id. */
static keel_status prepare(void *self, keel_call *c) {
    (void)self;
    keel_array worth, tokens, mask;
    if (keel_column(c, "token_rewards", &worth) || keel_column(c, "tokens", &tokens) ||
        keel_column(c, "mask", &mask))
        return KEEL_E_MISSING;
    double wrong = 0, right = 0;
    for (int64_t i = 0; i < mask.shape[0] * mask.shape[1]; i++) {
        if (keel_f64(&mask)[i] == 0)
            continue;
        if (keel_f64(&worth)[i] == keel_num(c, "scale") * keel_i32(&tokens)[i])
            right++;
        else
            wrong++;
    }
    c->host->metric(c, "cells/right", right, KEEL_SUM);
    c->host->metric(c, "cells/wrong", wrong, KEEL_SUM);
    return KEEL_OK;
}
static keel_t loss(void *self, keel_call *c) {
    (void)self;
    keel_t worth = keel_mul(c, keel_in(c, "token_rewards"), keel_in(c, "logprobs"));
    return keel_scale(c, worth, -1e-6);
}
static const keel_component token_pg = KEEL_OBJECTIVE(
        .name = "token_pg", .help = "REINFORCE on token rewards.", .data = "rollouts",
        KEEL_NEEDS("logprobs", "token_rewards", "tokens", "mask"), .reduction = "token_mean",
        KEEL_PARAMS(KEEL_PARAM_F64("scale", 1, -10, 10, "What ids are multiplied by.")),
        .prepare = prepare, .loss = loss);
KEEL_PLUGIN("org.example.per-token", "1.0.0", &per_token, &token_pg)
