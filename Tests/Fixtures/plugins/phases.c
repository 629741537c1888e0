/* Objectives that use every part of a run: phases, heads, groups, explicit gradients. */
#include "keel.h"

static void fill(keel_array *a, double *data, int64_t *shape, int32_t ndim) {
    *a = (keel_array){.data = data,
                      .device_type = 1,
                      .ndim = ndim,
                      .code = KEEL_FLOAT,
                      .bits = 64,
                      .lanes = 1,
                      .shape = shape};
}

/* ---- A value phase, then a policy phase that keeps the rows whose margin is above the value. */
static keel_t value_loss(void *self, keel_call *c) {
    (void)self;
    keel_t value = keel_in(c, "seq_values");
    keel_metric_t(c, "value", value);
    return keel_square(c, keel_sub(c, value, keel_in(c, "margin")));
}
static keel_status keep_good(void *self, keel_call *c) {
    (void)self;
    keel_array value, margin, out;
    if (keel_column(c, "seq_values", &value) || keel_column(c, "margin", &margin))
        return KEEL_E_MISSING;
    size_t n = keel_rows(c);
    double advantages[512], weight[512];
    if (n > 512)
        return keel_fail(c, KEEL_E_INVALID, "too many rows for this test");
    double kept = 0;
    for (size_t i = 0; i < n; i++) {
        advantages[i] = ((double *)margin.data)[i] - ((double *)value.data)[i];
        weight[i] = advantages[i] > keel_num(c, "above");
        kept += weight[i];
    }
    int64_t shape[1] = {(int64_t)n};
    fill(&out, advantages, shape, 1);
    keel_put(c, "advantages", &out);
    fill(&out, weight, shape, 1);
    keel_put(c, "weight", &out);
    keel_metric(c, "kept", n ? kept / (double)n : 0);
    return KEEL_OK;
}
static keel_t weighted_loss(void *self, keel_call *c) {
    (void)self;
    return keel_neg(c, keel_mul(c, keel_in(c, "advantages"), keel_in(c, "chosen.seq_logprobs")));
}
static const keel_component two_phases = KEEL_OBJECTIVE(
        .name = "two_phases", .help = "values of prompts, then the policy on the rows above them",
        .data = "pairs", KEEL_NEEDS("chosen.seq_logprobs", "seq_values", "margin"),
        KEEL_GIVES("advantages", "weight"), KEEL_HEADS("value_head:attention_pool"),
        KEEL_PARAMS(KEEL_PARAM_I64("value_steps", 4, 0, 100, "steps of the value phase"),
                    KEEL_PARAM_F64("above", 0, -100, 100, "keeps rows whose advantage is above")),
        KEEL_PHASES({.name = "value",
                     .needs = KEEL_LIST_(keel_name, "seq_values", "margin", 0),
                     .trains = KEEL_LIST_(keel_name, "value_head", 0),
                     .steps = "value_steps",
                     .loss = value_loss},
                    {.name = "policy",
                     .flags = KEEL_PREPARE_DATASET,
                     .prepare = keep_good,
                     .loss = weighted_loss}));

/* ---- Policy and critic with one loss, over roll-outs; first the critic alone. */
static keel_status estimate(void *self, keel_call *c) {
    (void)self;
    keel_array old, mask, rewards, out;
    if (keel_column(c, "old_values", &old) || keel_column(c, "mask", &mask) ||
        keel_column(c, "rewards", &rewards))
        return KEEL_E_MISSING;
    int64_t rows = old.shape[0], time = old.shape[1], shape[2] = {rows, time};
    double returns[4096], advantages[4096];
    if (rows * time > 4096)
        return keel_fail(c, KEEL_E_INVALID, "too many cells for this test");
    for (int64_t i = 0; i < rows * time; i++) {
        returns[i] = ((double *)rewards.data)[i / time];
        advantages[i] = returns[i] - ((double *)old.data)[i];
    }
    fill(&out, returns, shape, 2);
    keel_put(c, "returns", &out);
    fill(&out, advantages, shape, 2);
    return keel_put(c, "advantages", &out);
}
static keel_t critic_loss(void *self, keel_call *c) {
    (void)self;
    return keel_square(c, keel_sub(c, keel_in(c, "values"), keel_in(c, "returns")));
}
static keel_t actor_critic_loss(void *self, keel_call *c) {
    keel_t ratio = keel_exp(c, keel_sub(c, keel_in(c, "logprobs"), keel_in(c, "old_logprobs")));
    keel_t policy = keel_neg(c, keel_mul(c, ratio, keel_in(c, "advantages")));
    keel_t value = keel_scale(c, critic_loss(self, c), keel_num(c, "vf_coef"));
    keel_t entropy = keel_scale(c, keel_in(c, "entropy"), -keel_num(c, "ent_coef"));
    return keel_add(c, keel_add(c, policy, value), entropy);
}
#define AC_NEEDS "logprobs", "old_logprobs", "values", "old_values", "entropy", "rewards", "mask"
static const keel_component actor_critic = KEEL_OBJECTIVE(
        .name = "actor_critic", .help = "a critic, and a policy with it", .data = "rollouts",
        KEEL_NEEDS(AC_NEEDS), KEEL_GIVES("returns", "advantages"), KEEL_HEADS("critic"),
        .reduction = "token_mean",
        KEEL_PARAMS(KEEL_PARAM_F64("vf_coef", 0.5, 0, 10, "weight of the value loss"),
                    KEEL_PARAM_F64("ent_coef", 0.01, 0, 10, "weight of the entropy"),
                    KEEL_PARAM_I64("critic_steps", 0, 0, 100, "steps of the critic alone")),
        KEEL_PHASES({.name = "critic",
                     .needs = KEEL_LIST_(keel_name, "values", "old_values", "rewards", "mask", 0),
                     .trains = KEEL_LIST_(keel_name, "critic", 0),
                     .steps = "critic_steps",
                     .loss = critic_loss},
                    {.name = "policy",
                     .trains = KEEL_LIST_(keel_name, "policy", "critic", 0),
                     .loss = actor_critic_loss}),
        .prepare = estimate);

/* ---- Every differentiable column of one text. */
static keel_t bonus_loss(void *self, keel_call *c) {
    (void)self;
    keel_t nll = keel_scale(c, keel_in(c, "logprobs"), -1 + keel_num(c, "smoothing"));
    keel_t even = keel_scale(c, keel_in(c, "vocab_logprobs"), -keel_num(c, "smoothing"));
    return keel_add(c, keel_add(c, nll, even),
                    keel_scale(c, keel_in(c, "entropy"), -keel_num(c, "ent_coef")));
}
static const keel_component bonus = KEEL_OBJECTIVE(
        .name = "bonus", .help = "label smoothing and an entropy bonus", .data = "text",
        KEEL_NEEDS("logprobs", "entropy", "vocab_logprobs"), .reduction = "token_mean",
        KEEL_PARAMS(KEEL_PARAM_F64("smoothing", 0.1, 0, 1, "share of the even distribution"),
                    KEEL_PARAM_F64("ent_coef", 0.3, 0, 10, "weight of the entropy")),
        .loss = bonus_loss);

/* ---- A reward model, with a pull of its sequence log-probs. */
static keel_t rank_loss(void *self, keel_call *c) {
    (void)self;
    keel_t margin = keel_sub(c, keel_in(c, "chosen.scores"), keel_in(c, "rejected.scores"));
    keel_metric_t(c, "accuracy", keel_gt(c, margin, 0));
    return keel_softplus(c, keel_neg(c, margin));
}
static const keel_component rank = KEEL_OBJECTIVE(.name = "rank", .help = "Bradley-Terry",
                                                  .data = "pairs",
                                                  KEEL_NEEDS("chosen.scores", "rejected.scores"),
                                                  KEEL_HEADS("reward_head"), .loss = rank_loss);
static keel_t rank_and_write_loss(void *self, keel_call *c) {
    return keel_sub(c, rank_loss(self, c), keel_scale(c, keel_in(c, "chosen.mean_logprobs"), 0.3));
}
static const keel_component rank_and_write = KEEL_OBJECTIVE(
        .name = "rank_and_write", .help = "Bradley-Terry beside a language model", .data = "pairs",
        KEEL_NEEDS("chosen.scores", "rejected.scores", "chosen.mean_logprobs"),
        KEEL_HEADS("reward_head"), .loss = rank_and_write_loss);

/* ---- A value per token on the policy's own states. */
static keel_t token_value_loss(void *self, keel_call *c) {
    (void)self;
    keel_t miss = keel_square(c, keel_offset(c, keel_in(c, "values"), -0.7));
    return keel_sub(c, miss, keel_in(c, "logprobs"));
}
static const keel_component token_values = KEEL_OBJECTIVE(
        .name = "token_values", .help = "likelihood and values of one trunk", .data = "text",
        KEEL_NEEDS("logprobs", "values"), KEEL_HEADS("value_head:linear"),
        .loss = token_value_loss);

/* ---- One loss per group: squared distance of the group's mean log-prob to its mean reward. */
static keel_t grouped_loss(void *self, keel_call *c) {
    (void)self;
    double n = keel_fact(c, "num_generations");
    const double shape[2] = {-1, n}, k = 1;
    keel_t rewards = keel_in(c, "rewards"), logprobs = keel_in(c, "mean_logprobs");
    keel_t r = keel_op(c, KEEL_OP_RESHAPE, &rewards, 1, shape, 2),
           s = keel_op(c, KEEL_OP_RESHAPE, &logprobs, 1, shape, 2);
    return keel_square(c, keel_sub(c, keel_op(c, KEEL_OP_MEAN, &s, 1, &k, 1),
                                   keel_op(c, KEEL_OP_MEAN, &r, 1, &k, 1)));
}
static const keel_component grouped = KEEL_OBJECTIVE(.name = "grouped",
                                                     .help = "one loss per group",
                                                     .data = "rollouts",
                                                     KEEL_NEEDS("mean_logprobs", "rewards",
                                                                "group"),
                                                     .flags = KEEL_COUPLED, .loss = grouped_loss);

/* ---- The likelihood of a text, by operations and by a gradient of its own. */
static keel_t nll_loss(void *self, keel_call *c) {
    (void)self;
    return keel_neg(c, keel_in(c, "seq_logprobs"));
}
static const keel_component nll = KEEL_OBJECTIVE(.name = "nll", .help = "likelihood",
                                                 .data = "text", KEEL_NEEDS("seq_logprobs"),
                                                 .loss = nll_loss);
static keel_t explicit_loss(void *self, keel_call *c) {
    (void)self;
    keel_array seen, value;
    if (keel_read(c, keel_in(c, "seq_logprobs"), &seen))
        return (keel_t){0};
    double minus[512], slope[512];
    int64_t shape[1] = {seen.shape[0]};
    for (int64_t i = 0; i < shape[0] && i < 512; i++) {
        minus[i] = -((double *)seen.data)[i];
        slope[i] = -1;
    }
    fill(&value, slope, shape, 1);
    keel_grad(c, "seq_logprobs", &value);
    fill(&value, minus, shape, 1);
    return keel_upload(c, &value);
}
static const keel_component explicit_nll = KEEL_OBJECTIVE(
        .name = "explicit_nll", .help = "likelihood with a gradient of its own", .data = "text",
        KEEL_NEEDS("seq_logprobs"), .flags = KEEL_EXPLICIT_GRAD, .loss = explicit_loss);

/* ---- What a run needs beside an objective. */
static keel_status by_length(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = 1.0f / (1 + (float)keel_text(c, "response", i).n);
    return KEEL_OK;
}
static const keel_component brief = KEEL_REWARD(.name = "brief", .help = "short is good",
                                                .score = by_length);
static keel_status any(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                       int32_t *token) {
    (void)self;
    (void)c;
    (void)seq;
    for (int64_t i = 0; i < logits->shape[0]; i++)
        token[i] = -1;
    return KEEL_OK;
}
static const keel_component plain = KEEL_TOKEN_SAMPLER(.name = "plain",
                                                       .help = "the model's own distribution",
                                                       .sample = any);
static keel_status in_order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = ((int64_t)i + epoch) % (int64_t)keel_rows(c);
    return KEEL_OK;
}
static const keel_component rotated = KEEL_DATA_SAMPLER(.name = "rotated",
                                                        .help = "in order, one further each epoch",
                                                        .order = in_order);

/* ---- One objective for each kind of rows. */
static keel_t listed_loss(void *self, keel_call *c) {
    (void)self;
    const double k = 1;
    keel_t sum = keel_mul(c, keel_in(c, "rewards"), keel_in(c, "seq_logprobs"));
    keel_t mean = keel_mul(c, keel_in(c, "rank"), keel_in(c, "mean_logprobs"));
    keel_t cells = keel_mul(c, keel_sub(c, mean, sum), keel_in(c, "valid"));
    keel_metric_t(c, "best", keel_in(c, "sft_index"));
    return keel_op(c, KEEL_OP_SUM, &cells, 1, &k, 1);
}
static const keel_component listed = KEEL_OBJECTIVE(
        .name = "listed", .help = "sums by rewards, means by ranks", .data = "ranked",
        KEEL_NEEDS("seq_logprobs", "mean_logprobs", "rewards", "rank", "valid", "sft_index"),
        .loss = listed_loss);
static keel_t listed_scores_loss(void *self, keel_call *c) {
    (void)self;
    const double k = 1;
    keel_t miss = keel_square(c, keel_sub(c, keel_in(c, "scores"), keel_in(c, "rewards")));
    keel_t cells = keel_mul(c, miss, keel_in(c, "valid"));
    return keel_op(c, KEEL_OP_SUM, &cells, 1, &k, 1);
}
static const keel_component listed_scores = KEEL_OBJECTIVE(.name = "listed_scores",
                                                           .help = "scores close to the rewards",
                                                           .data = "ranked",
                                                           KEEL_NEEDS("scores", "rewards", "valid"),
                                                           KEEL_HEADS("reward_head"),
                                                           .loss = listed_scores_loss);
static keel_t paid_loss(void *self, keel_call *c) {
    (void)self;
    keel_t rewards = keel_in(c, "rewards");
    keel_metric_t(c, "paid/reward", rewards);
    keel_metric_t(c, "paid/group", keel_in(c, "group"));
    return keel_neg(c, keel_mul(c, rewards, keel_in(c, "seq_logprobs")));
}
static const keel_component paid = KEEL_OBJECTIVE(.name = "paid", .help = "likelihood times reward",
                                                  .data = "scored",
                                                  KEEL_NEEDS("seq_logprobs", "rewards", "group"),
                                                  .loss = paid_loss);
static keel_t marked_loss(void *self, keel_call *c) {
    (void)self;
    keel_t label = keel_in(c, "label");
    keel_metric_t(c, "marked/label", label);
    keel_t sign = keel_offset(c, keel_scale(c, label, -2), 1);
    return keel_mul(c, sign, keel_exp(c, keel_in(c, "mean_logprobs")));
}
static const keel_component marked = KEEL_OBJECTIVE(.name = "marked",
                                                    .help = "up with the good, down with the bad",
                                                    .data = "unpaired",
                                                    KEEL_NEEDS("mean_logprobs", "label"),
                                                    .loss = marked_loss);
/* ---- What completions are worth behind other prompts. */
static keel_status baseline_of_step(void *self, keel_call *c) {
    (void)self;
    keel_array policy, ref, out;
    if (keel_column(c, "mismatched.seq_logprobs", &policy) ||
        keel_column(c, "mismatched.ref_seq_logprobs", &ref))
        return KEEL_E_MISSING;
    size_t n = keel_rows(c);
    double sum = 0, gap = 0, baseline[512];
    for (size_t i = 0; i < n && i < 512; i++) {
        sum += ((double *)policy.data)[i] / (double)n;
        gap += (((double *)policy.data)[i] - ((double *)ref.data)[i]) / (double)n;
    }
    for (size_t i = 0; i < n && i < 512; i++)
        baseline[i] = gap;
    int64_t shape[1] = {(int64_t)n};
    fill(&out, baseline, shape, 1);
    keel_metric(c, "other", sum);
    keel_metric(c, "gap", gap);
    return keel_put(c, "baseline", &out);
}
static keel_t against_others_loss(void *self, keel_call *c) {
    (void)self;
    keel_t ratio = keel_sub(c, keel_in(c, "seq_logprobs"), keel_in(c, "ref_seq_logprobs"));
    return keel_square(c, keel_offset(c, keel_sub(c, ratio, keel_in(c, "baseline")), -1));
}
static const keel_component against_others = KEEL_OBJECTIVE(
        .name = "against_others", .help = "log-ratios against those behind other prompts",
        .data = "unpaired",
        KEEL_NEEDS("seq_logprobs", "ref_seq_logprobs", "label", "mismatched.seq_logprobs",
                   "mismatched.ref_seq_logprobs"),
        KEEL_GIVES("baseline"), .prepare = baseline_of_step, .loss = against_others_loss);

KEEL_PLUGIN("org.example.phases", "1.0.0", &two_phases, &actor_critic, &bonus, &rank,
            &rank_and_write, &token_values, &grouped, &nll, &explicit_nll, &brief, &plain, &rotated,
            &listed, &listed_scores, &paid, &marked, &against_others)
