/* The frozen plugin of 1.0: one component of each kind, and of each way to give a loss. Never changed; see ../README.md. */
#include <stdlib.h>
#include "keel.h"

/* ---------------------------------------------------------------- a reward with parameters, ids, tokens and state */

typedef struct counter {
    uint64_t calls;
    double bonus;
} counter;

static void *reward_create(keel_call *c) {
    counter *self = calloc(1, sizeof *self);
    if (!self)
        keel_fail(c, KEEL_E_INTERNAL, "out of memory");
    else
        self->bonus = keel_num(c, "bonus");
    if (keel_is(keel_string(c, "mode"), "refuse"))
        keel_fail(c, KEEL_E_INVALID, "mode is refuse");
    return self;
}
static void reward_destroy(void *self) { free(self); }
static keel_status reward_save(void *self, keel_call *c) {
    return keel_write(c, self, sizeof(counter));
}
static keel_status reward_load(void *self, keel_call *c, uint32_t version, const void *bytes,
                               size_t n) {
    if (version != 3 || n != sizeof(counter))
        return keel_fail(c, KEEL_E_STATE, "not a state of version 3");
    memcpy(self, bytes, n);
    return KEEL_OK;
}
static keel_status reward_score(void *self, keel_call *c, size_t n, float *out) {
    counter *me = self;
    size_t prompt, total, width = 0, words = 0;
    double target = keel_num(c, "target");
    const double *extra = keel_list(c, "extra", &words);
    me->calls++;
    for (size_t i = 0; i < n; i++)
        if (keel_tokens(c, i, &prompt, &total) && total - prompt > width)
            width = total - prompt;
    double *cells = calloc(n * width + 1, sizeof *cells);
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i), field = keel_field(c, i, "/bonus");
        const int32_t *ids = keel_tokens(c, i, &prompt, &total);
        for (size_t t = 0; ids && t < total - prompt; t++)
            cells[i * width + t] = 0.5 * ids[prompt + t];
        if (text.n == 0)
            continue;
        double length = (double)text.n;
        double score = length < target ? length / target : target / length;
        score += field.p ? me->bonus : 0;
        score += keel_is(keel_string(c, "mode"), "noisy") ? keel_uniform(c, i, 7) : 0;
        for (size_t w = 0; w < words; w++)
            score += extra[w];
        out[i] = (float)score;
    }
    const int64_t shape[2] = {(int64_t)n, (int64_t)width};
    keel_array rewards = keel_array_f64(cells, shape, 2);
    keel_put(c, "token_rewards", &rewards);
    keel_metric(c, "calls", (double)me->calls);
    free(cells);
    return KEEL_OK;
}
static const keel_component reward = KEEL_REWARD(
    .name = "frozen_reward", .help = "length against a target, bonus, noise",
    KEEL_GIVES("token_rewards"),
    KEEL_PARAMS(KEEL_PARAM_I64("target", 8, 1, 1e6, "wanted bytes"),
                KEEL_PARAM_F64("bonus", 0.25, -1, 1, "for rows with a bonus"),
                KEEL_PARAM_ENUM("mode", "plain", "what to add", "plain", "noisy", "refuse"),
                KEEL_PARAM_LIST("extra", "[]", -9, 9, "added to every score")),
    .state_version = 3, .create = reward_create, .destroy = reward_destroy, .save = reward_save,
    .load = reward_load, .score = reward_score);

/* ---------------------------------------------------------------- an objective of pairs */

static keel_t pairs_loss(void *self, keel_call *c) {
    (void)self;
    double beta = keel_num(c, "beta"), eps = keel_num(c, "label_smoothing");
    keel_t won = keel_sub(c, keel_in(c, "chosen.seq_logprobs"), keel_in(c, "chosen.ref_seq_logprobs"));
    keel_t lost = keel_sub(c, keel_in(c, "rejected.seq_logprobs"), keel_in(c, "rejected.ref_seq_logprobs"));
    keel_t z = keel_scale(c, keel_sub(c, won, lost), beta);
    keel_t good = keel_log_sigmoid(c, z), bad = keel_log_sigmoid(c, keel_neg(c, z));
    keel_metric_t(c, "margin", z);
    keel_metric_t(c, "accuracy", keel_gt(c, z, 0));
    return keel_add(c, keel_scale(c, good, eps - 1), keel_scale(c, bad, -eps));
}
static const keel_component pairs = KEEL_OBJECTIVE(
    .name = "frozen_pairs", .help = "direct preference optimisation", .data = "pairs",
    KEEL_NEEDS("chosen.seq_logprobs", "rejected.seq_logprobs", "chosen.ref_seq_logprobs",
               "rejected.ref_seq_logprobs"),
    KEEL_PARAMS(KEEL_PARAM_F64("beta", 0.1, 1e-6, 100, "strength"),
                KEEL_PARAM_F64("label_smoothing", 0, 0, 0.5, "noise of the labels")),
    .loss = pairs_loss);

/* ---------------------------------------------------------------- an objective with phases, heads and prepare */

static keel_status tokens_prepare(void *self, keel_call *c) {
    (void)self;
    keel_array rewards;
    if (keel_column(c, "rewards", &rewards))
        return KEEL_E_MISSING;
    size_t n = keel_cells(&rewards);
    double *cells = calloc(2 * n + 1, sizeof *cells), mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += keel_f64(&rewards)[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        cells[i] = keel_f64(&rewards)[i] - mean;
        cells[n + i] = keel_f64(&rewards)[i] < -1 ? 0 : 1;
    }
    keel_array advantages = keel_array_f64(cells, rewards.shape, 1);
    keel_array weight = keel_array_f64(cells + n, rewards.shape, 1);
    keel_put(c, "advantages", &advantages), keel_put(c, "weight", &weight);
    free(cells);
    return KEEL_OK;
}
static keel_t value_loss(void *self, keel_call *c) {
    (void)self;
    return keel_square(c, keel_sub(c, keel_in(c, "seq_values"), keel_in(c, "rewards")));
}
static keel_t policy_loss(void *self, keel_call *c) {
    (void)self;
    const double column[2] = {-1, 1};
    keel_t a = keel_in(c, "advantages"), mask = keel_in(c, "mask"), logprobs = keel_in(c, "logprobs");
    keel_t ratio = keel_exp(c, keel_clamp(c, keel_sub(c, logprobs, keel_in(c, "old_logprobs")), -20, 20));
    a = keel_op(c, KEEL_OP_RESHAPE, &a, 1, column, 2);
    keel_t free_ = keel_mul(c, ratio, a), near = keel_mul(c, keel_clamp(c, ratio, 0.8, 1.2), a);
    keel_t entropy = keel_masked_mean(c, keel_mul(c, keel_exp(c, logprobs), logprobs), mask);
    entropy = keel_scale(c, keel_op(c, KEEL_OP_RESHAPE, &entropy, 1, column, 2), 0.01);
    keel_metric_t_as(c, "ratio", ratio, KEEL_MAX);
    return keel_sub(c, entropy, keel_min(c, free_, near));
}
static const keel_component tokens = KEEL_OBJECTIVE(
    .name = "frozen_phases", .help = "a value head, then the policy", .data = "scored",
    KEEL_NEEDS("rewards"), KEEL_GIVES("advantages", "weight"), KEEL_HEADS("value_head:attention_pool"),
    KEEL_PARAMS(KEEL_PARAM_I64("value_epochs", 3, 0, 100, "length of the first phase")),
    KEEL_PHASES({.name = "value", KEEL_NEEDS("seq_values", "rewards"), KEEL_TRAINS("value_head"),
                 .epochs = "value_epochs", .loss = value_loss},
                {.name = "policy", KEEL_NEEDS("logprobs", "old_logprobs", "rewards"),
                 .reduction = "token_mean", .prepare = tokens_prepare, .loss = policy_loss}));

/* ---------------------------------------------------------------- an objective with its own gradient */

static keel_t cubes_loss(void *self, keel_call *c) {
    (void)self;
    keel_array x;
    if (keel_read(c, keel_in(c, "logprobs"), &x))
        return keel_full(c, 0);
    size_t n = keel_cells(&x), rows = keel_rows(c);
    double *cells = calloc(n + rows + 1, sizeof *cells);
    for (size_t i = 0; i < n; i++) {
        double v = keel_f64(&x)[i];
        cells[i] = 3 * v * v;
        cells[n + i / (n / rows)] += v * v * v;
    }
    keel_array gradient = keel_array_f64(cells, x.shape, 2), value = keel_array_f64(cells + n, x.shape, 1);
    keel_grad(c, "logprobs", &gradient);
    keel_t loss = keel_upload(c, &value);
    free(cells);
    return loss;
}
static const keel_component cubes = KEEL_OBJECTIVE(
    .name = "frozen_grad", .help = "the sum of cubes", .data = "text", KEEL_NEEDS("logprobs"),
    .flags = KEEL_EXPLICIT_GRAD, .loss = cubes_loss);

/* ---------------------------------------------------------------- samplers */

/* Never the last token of the sequence; every third draw is its own. */
static keel_status sample(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                          int32_t *token) {
    (void)self;
    size_t prompt, total, vocab = (size_t)logits->shape[1];
    for (size_t b = 0; b < (size_t)logits->shape[0]; b++) {
        uint32_t *drawn = seq[b];
        const int32_t *ids = keel_tokens(c, b, &prompt, &total);
        keel_f32(logits)[b * vocab + (size_t)ids[total - 1]] = -1.0f / 0.0f;
        if (++*drawn % 3 == 0) {
            size_t pick = (size_t)(keel_uniform(c, b, *drawn) * (double)vocab);
            token[b] = (int32_t)(pick == (size_t)ids[total - 1] ? (pick + 1) % vocab : pick);
        }
    }
    return KEEL_OK;
}
static const keel_component token_sampler = KEEL_TOKEN_SAMPLER(
    .name = "frozen_tokens", .help = "never the same token twice in a row", .seq_bytes = 4,
    .sample = sample);

/* A shuffle in which the rows of the last feedback come last. */
typedef struct memory {
    int64_t late[4];
    uint32_t count;
} memory;
static void *order_create(keel_call *c) {
    (void)c;
    return calloc(1, sizeof(memory));
}
static keel_status order_save(void *self, keel_call *c) { return keel_write(c, self, sizeof(memory)); }
static keel_status order_load(void *self, keel_call *c, uint32_t version, const void *bytes, size_t n) {
    if (version != 1 || n != sizeof(memory))
        return keel_fail(c, KEEL_E_STATE, "not mine");
    memcpy(self, bytes, n);
    return KEEL_OK;
}
static keel_status feedback(void *self, keel_call *c, const int64_t *rows, size_t n) {
    memory *me = self;
    keel_array rewards;
    if (keel_column(c, "rewards", &rewards))
        return KEEL_E_MISSING;
    for (size_t i = 0; i < n && me->count < 4; i++)
        if (keel_f64(&rewards)[i] > 0.5)
            me->late[me->count++] = rows[i];
    return KEEL_OK;
}
static keel_status order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    const memory *me = self;
    (void)epoch;
    size_t rows = keel_rows(c), at = 0;
    int64_t *all = calloc(rows + 1, sizeof *all);
    for (size_t i = 0; i < rows; i++)
        all[i] = (int64_t)i;
    for (size_t i = rows; i-- > 1;) {
        size_t j = (size_t)(keel_uniform(c, 0, i) * (double)(i + 1));
        int64_t row = all[i];
        all[i] = all[j], all[j] = row;
    }
    for (int late = 0; late < 2; late++)
        for (size_t i = 0; i < rows && at < n; i++) {
            int is_late = 0;
            for (uint32_t k = 0; k < me->count; k++)
                is_late |= me->late[k] == all[i];
            if (is_late == late)
                out[at++] = all[i];
        }
    while (at < n)
        out[at] = out[at % rows], at++;
    free(all);
    return KEEL_OK;
}
static const keel_component data_sampler = KEEL_DATA_SAMPLER(
    .name = "frozen_order", .help = "a shuffle that puts good rows last", KEEL_NEEDS("rewards"),
    .state_version = 1, .create = order_create, .destroy = reward_destroy, .save = order_save,
    .load = order_load, .feedback = feedback, .order = order);

KEEL_PLUGIN("keel.frozen-1.0", "1.0.0", &reward, &pairs, &tokens, &cubes, &token_sampler,
            &data_sampler)
