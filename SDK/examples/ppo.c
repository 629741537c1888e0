/* Proximal policy optimisation (arXiv:1707.06347) with a value head; advantages by GAE (arXiv:1506.02438). */
#include "keel.h"
#include "keel_math.h"
#include <stdlib.h>

/* Per token the KL to the reference, on the last one the reward -> advantages, whitened, and returns: [B,T]. */
static keel_status prepare(void *self, keel_call *c) {
    keel_array rewards, old, ref, values, mask;
    if (keel_column(c, "rewards", &rewards) || keel_column(c, "old_logprobs", &old) ||
        keel_column(c, "ref_logprobs", &ref) || keel_column(c, "old_values", &values) ||
        keel_column(c, "mask", &mask))
        return KEEL_E_MISSING;
    size_t rows = (size_t)mask.shape[0], time = (size_t)mask.shape[1], n = rows * time;
    double *r = (double *)malloc((3 * n + 1) * sizeof *r), *m = keel_f64(&mask);
    if (!r)
        return keel_fail(c, KEEL_E_INTERNAL, "out of memory");
    keel_math_token_rewards(r, keel_f64(&rewards), keel_f64(&old), keel_f64(&ref), m, rows, time,
        keel_num(c, "kl_coef"), 1);
    keel_math_gae(
        r + n, r + 2 * n, r, keel_f64(&values), m, NULL, rows, time, 1, keel_num(c, "lam"));
    keel_math_whiten(r + n, r + n, m, n, 1, 1e-8, 1);
    keel_array advantages = keel_array_f64(r + n, mask.shape, 2);
    keel_array returns = keel_array_f64(r + 2 * n, mask.shape, 2);
    keel_put(c, "advantages", &advantages);
    keel_put(c, "returns", &returns);
    free(r);
    return KEEL_OK;
}

/* -min(ratio A, clip(ratio) A) + vf_coef / 2 (V - R)^2 - ent_coef H, per token; the first error of a call ends it. */
static keel_t loss(void *self, keel_call *c) {
    double clip = keel_num(c, "clip_range"), vf = keel_num(c, "vf_coef") / 2;
    keel_t a = keel_in(c, "advantages");
    keel_t ratio = keel_exp(c, keel_sub(c, keel_in(c, "logprobs"), keel_in(c, "old_logprobs")));
    keel_t near = keel_clamp(c, ratio, 1 - clip, 1 + clip);
    keel_t policy = keel_min(c, keel_mul(c, ratio, a), keel_mul(c, near, a));
    keel_t value = keel_square(c, keel_sub(c, keel_in(c, "values"), keel_in(c, "returns")));
    keel_t entropy = keel_scale(c, keel_in(c, "entropy"), keel_num(c, "ent_coef"));
    return keel_sub(c, keel_scale(c, value, vf), keel_add(c, policy, entropy));
}
static const keel_component ppo = KEEL_OBJECTIVE(.name = "ppo",
    .help = "Proximal policy optimisation.", .data = "rollouts",
    KEEL_NEEDS("logprobs", "old_logprobs", "ref_logprobs", "values", "old_values", "entropy",
        "rewards", "mask"),
    KEEL_GIVES("advantages", "returns"), KEEL_HEADS("value_head:linear"), .reduction = "token_mean",
    KEEL_PARAMS(KEEL_PARAM_F64("clip_range", 0.2, 0, 1, "How far the ratio may leave 1."),
        KEEL_PARAM_F64("lam", 0.95, 0, 1, "GAE lambda."),
        KEEL_PARAM_F64("kl_coef", 0.05, 0, 10, "Weight of the KL to the reference."),
        KEEL_PARAM_F64("vf_coef", 0.1, 0, 10, "Weight of the value loss."),
        KEEL_PARAM_F64("ent_coef", 0, 0, 1, "Weight of the entropy.")),
    .prepare = prepare, .loss = loss);
KEEL_PLUGIN("org.example.ppo", "1.0.0", &ppo)
