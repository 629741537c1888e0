/* Well and badly behaved components, one misdeed each, for the tests of the host's side of the contract. */
#include "keel.h"

/* ---- objectives */

/* The contract's own example: z = beta * ((chosen - ref chosen) - (rejected - ref rejected)); -log sigmoid(z), smoothed. */
static keel_t dpo_loss(void *self, keel_call *c) {
    (void)self;
    double beta = keel_num(c, "beta"), eps = keel_num(c, "label_smoothing");
    keel_t won = keel_sub(c, keel_in(c, "chosen.seq_logprobs"),
                          keel_in(c, "chosen.ref_seq_logprobs"));
    keel_t lost = keel_sub(c, keel_in(c, "rejected.seq_logprobs"),
                           keel_in(c, "rejected.ref_seq_logprobs"));
    keel_t z = keel_scale(c, keel_sub(c, won, lost), beta);
    keel_t good = keel_log_sigmoid(c, z), bad = keel_log_sigmoid(c, keel_neg(c, z));
    keel_metric_t(c, "margin", z);
    keel_metric_t(c, "accuracy", keel_gt(c, z, 0));
    return keel_add(c, keel_scale(c, good, eps - 1), keel_scale(c, bad, -eps));
}
static const keel_component dpo = KEEL_OBJECTIVE(
        .name = "zoo_dpo", .help = "direct preference optimisation", .data = "pairs",
        KEEL_NEEDS("chosen.seq_logprobs", "rejected.seq_logprobs", "chosen.ref_seq_logprobs",
                   "rejected.ref_seq_logprobs"),
        KEEL_PARAMS(
            KEEL_PARAM_F64("beta", 0.1, 1e-6, 100, "strength of the pull to the reference"),
            KEEL_PARAM_F64("label_smoothing", 0, 0, 0.5, "probability that a label is wrong")),
        .loss = dpo_loss);

/* -logprobs * advantages per token; prepare gives the advantages and filters rows of negative reward. */
static keel_status token_prepare(void *self, keel_call *c) {
    (void)self;
    keel_array rewards;
    if (keel_column(c, "rewards", &rewards))
        return KEEL_E_MISSING;
    size_t rows = keel_rows(c);
    double weight[64];
    for (size_t i = 0; i < rows && i < 64; i++)
        weight[i] = keel_f64(&rewards)[i] < 0 ? 0 : 1;
    int64_t shape[1] = {(int64_t)rows};
    keel_array w = keel_array_f64(weight, shape, 1);
    keel_put(c, "advantages", &rewards);
    keel_metric(c, "prepared", (double)rows);
    return keel_put(c, "weight", &w);
}
static keel_t token_loss(void *self, keel_call *c) {
    (void)self;
    keel_t a = keel_in(c, "advantages"), logprobs = keel_in(c, "logprobs");
    const double shape[2] = {-1, 1};
    keel_metric_t(c, "logprob", logprobs);
    return keel_neg(c, keel_mul(c, logprobs, keel_op(c, KEEL_OP_RESHAPE, &a, 1, shape, 2)));
}
static const keel_component tokens = KEEL_OBJECTIVE(.name = "zoo_tokens",
                                                    .help = "policy gradient per token",
                                                    .data = "scored",
                                                    KEEL_NEEDS("logprobs", "rewards"),
                                                    KEEL_GIVES("advantages", "weight"),
                                                    .reduction = "token_mean",
                                                    .prepare = token_prepare, .loss = token_loss);

/* The mean over groups of the difference between a group's best and mean log-probability: [G]. */
static keel_t group_loss(void *self, keel_call *c) {
    (void)self;
    keel_t x = keel_in(c, "seq_logprobs");
    const double two[2] = {-1, 2};
    return keel_neg(
        c, keel_mean_axis(c, keel_square(c, keel_op(c, KEEL_OP_RESHAPE, &x, 1, two, 2)), 1));
}
static const keel_component groups = KEEL_OBJECTIVE(.name = "zoo_groups",
                                                    .help = "one loss per group of two",
                                                    .data = "rollouts",
                                                    KEEL_NEEDS("seq_logprobs", "group"),
                                                    .flags = KEEL_COUPLED, .loss = group_loss);

/* A final number: the mean of the squares. */
static keel_t linear_loss(void *self, keel_call *c) {
    (void)self;
    return keel_mean(c, keel_square(c, keel_in(c, "scores")));
}
static const keel_component linear = KEEL_OBJECTIVE(.name = "zoo_linear", .help = "a scalar loss",
                                                    .data = "scored", KEEL_NEEDS("scores"),
                                                    .flags = KEEL_LINEAR, .loss = linear_loss);

/* The squares of the sequence log-probabilities, with the gradient given by hand. */
static keel_t explicit_loss(void *self, keel_call *c) {
    (void)self;
    keel_array x;
    keel_read(c, keel_in(c, "seq_logprobs"), &x);
    double loss[64], grad[64];
    size_t n = keel_cells(&x);
    for (size_t i = 0; i < n && i < 64; i++)
        loss[i] = keel_f64(&x)[i] * keel_f64(&x)[i], grad[i] = 2 * keel_f64(&x)[i];
    int64_t shape[1] = {(int64_t)n};
    keel_array g = keel_array_f64(grad, shape, 1), l = keel_array_f64(loss, shape, 1);
    keel_grad(c, "seq_logprobs", &g);
    return keel_upload(c, &l);
}
static const keel_component by_hand = KEEL_OBJECTIVE(.name = "zoo_explicit",
                                                     .help = "explicit gradients", .data = "scored",
                                                     KEEL_NEEDS("seq_logprobs"),
                                                     .flags = KEEL_EXPLICIT_GRAD,
                                                     .loss = explicit_loss);

/* One of several misdeeds, by parameter. */
static keel_t kept;
static keel_t bad_loss(void *self, keel_call *c) {
    (void)self;
    keel_t x = keel_in(c, "seq_logprobs");
    keel_str what = keel_string(c, "what");
    if (keel_is(what, "column"))
        return keel_in(c, "seq_logprops");
    if (keel_is(what, "undeclared"))
        return keel_in(c, "values");
    if (keel_is(what, "param"))
        return keel_scale(c, x, keel_num(c, "betta"));
    if (keel_is(what, "type"))
        return keel_scale(c, x, keel_num(c, "what"));
    if (keel_is(what, "stale")) {
        keel_t old = kept;
        kept = x;
        return old.id ? keel_add(c, old, x) : x;
    }
    if (keel_is(what, "made_up")) {
        keel_t y = {x.id + 100};
        return keel_add(c, y, x);
    }
    if (keel_is(what, "null")) {
        keel_t y = {0};
        return y;
    }
    if (keel_is(what, "shapes")) {
        const double k[2] = {3, 7};
        return keel_add(c, x, keel_op(c, KEEL_OP_FULL, 0, 0, (const double[]){1, 5}, 2)),
               keel_op(c, KEEL_OP_RESHAPE, &x, 1, k, 2);
    }
    if (keel_is(what, "axis"))
        return keel_sum_axis(c, x, 4);
    if (keel_is(what, "opcode"))
        return keel_op1(c, 999, x);
    if (keel_is(what, "arity"))
        return keel_op1(c, KEEL_OP_ADD, x);
    if (keel_is(what, "result"))
        return keel_op(c, KEEL_OP_FULL, 0, 0, (const double[]){1, 2, 2, 2}, 4);
    if (keel_is(what, "index")) {
        keel_t i = keel_op(c, KEEL_OP_FULL, 0, 0, (const double[]){50, 1}, 2);
        const keel_t in[2] = {x, i};
        return keel_op(c, KEEL_OP_INDEX, in, 2, 0, 0);
    }
    if (keel_is(what, "read_column")) {
        keel_array a;
        keel_column(c, "seq_logprobs", &a);
        return x;
    }
    if (keel_is(what, "put")) {
        int64_t s[1] = {1};
        double v = 1;
        keel_array a = keel_array_f64(&v, s, 1);
        keel_put(c, "extra", &a);
        return x;
    }
    if (keel_is(what, "grad")) {
        int64_t s[1] = {1};
        double v = 1;
        keel_array a = keel_array_f64(&v, s, 1);
        keel_grad(c, "seq_logprobs", &a);
        return x;
    }
    if (keel_is(what, "fail")) {
        keel_fail(c, KEEL_E_INVALID, "I will not");
        keel_fail(c, KEEL_E_INVALID, "second");
        return x;
    }
    return x;
}
static const keel_component bad = KEEL_OBJECTIVE(.name = "zoo_bad", .help = "misbehaves as told",
                                                 .data = "scored", KEEL_NEEDS("seq_logprobs"),
                                                 KEEL_PARAMS(
                                                     KEEL_PARAM_STR("what", "", "the misdeed"),
                                                     KEEL_PARAM_F64("beta", 1, 0, 0, "unused")),
                                                 .loss = bad_loss);

/* ---- rewards */

/* Counts its calls; the state is that count. Score: bytes of the response, NaN for an empty one, plus the field /bonus. */
typedef struct counter {
    uint64_t calls;
} counter;
static counter pool[64];
static size_t pooled;
static void *counter_create(keel_call *c) {
    if (keel_num(c, "refuse") != 0) {
        keel_fail(c, KEEL_E_INVALID, "refuse is on");
        return 0;
    }
    counter *made = &pool[pooled++ % 64];
    made->calls = 0;
    return made;
}
static keel_status counter_save(void *self, keel_call *c) {
    return keel_write(c, self, 4) ? KEEL_E_INTERNAL : keel_write(c, (const char *)self + 4, 4);
}
static keel_status counter_load(void *self, keel_call *c, uint32_t version, const void *bytes,
                                size_t n) {
    if (version != 3 || n != sizeof(counter))
        return keel_fail(c, KEEL_E_STATE, "not a state of mine");
    memcpy(self, bytes, n);
    return KEEL_OK;
}
static keel_status counter_score(void *self, keel_call *c, size_t n, float *out) {
    counter *own = self;
    own->calls++;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i), bonus = keel_field(c, i, "/bonus");
        if (text.n > 0)
            out[i] = (float)text.n + (keel_is(bonus, "ten") ? 10 : 0);
        if (keel_is(text, "infinite"))
            out[i] = 1.0f / 0.0f;
        if (keel_is(text, "fail"))
            return KEEL_E_UNSUPPORTED;
    }
    keel_metric(c, "calls", (double)own->calls);
    return KEEL_OK;
}
static const keel_component count = KEEL_REWARD(.name = "zoo_count", .help = "counts",
                                                KEEL_PARAMS(
                                                    KEEL_PARAM_BOOL("refuse", 0, "create refuses")),
                                                .state_version = 3, .create = counter_create,
                                                .save = counter_save, .load = counter_load,
                                                .score = counter_score);

/* ---- samplers */

/* Never the same token twice: marks what was taken in the sequence's own memory; row 0 picks itself, others leave it to the host. */
static keel_status once_sample(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                               int32_t *token) {
    (void)self;
    size_t n = (size_t)logits->shape[0], vocab = (size_t)logits->shape[1];
    for (size_t b = 0; b < n; b++) {
        unsigned char *taken = seq[b];
        float *row = keel_f32(logits) + b * vocab;
        size_t total = 0;
        keel_tokens(c, b, 0, &total);
        size_t best = 0;
        for (size_t v = 0; v < vocab; v++) {
            if (taken[v])
                row[v] = -1.0f / 0.0f;
            if (row[v] > row[best])
                best = v;
        }
        double misdeed = keel_num(c, "misdeed");
        token[b] = misdeed == 1 ? (int32_t)vocab : misdeed == 2 ? -1 : (int32_t)best;
        if (misdeed == 2)
            for (size_t v = 0; v < vocab; v++)
                row[v] = -1.0f / 0.0f;
        if (misdeed == 3)
            row[best] = -1.0f / 0.0f;
        taken[best] = 1;
    }
    return KEEL_OK;
}
static const keel_component once = KEEL_TOKEN_SAMPLER(.name = "zoo_once", .help = "no token twice",
                                                      KEEL_PARAMS(KEEL_PARAM_I64("misdeed", 0, 0, 3,
                                                                                 "which")),
                                                      .seq_bytes = 16, .sample = once_sample);

/* A shuffle by random keys (selection sort: small sets only). */
static keel_status shuffle_order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    (void)self, (void)epoch;
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)(i % keel_rows(c));
    for (size_t i = n; i-- > 1;) {
        size_t j = (size_t)(keel_uniform(c, 0, i) * (double)(i + 1));
        int64_t t = out[i];
        out[i] = out[j], out[j] = t;
    }
    if (keel_num(c, "outside") != 0 && n > 0)
        out[0] = (int64_t)keel_rows(c);
    return KEEL_OK;
}
static const keel_component shuffle = KEEL_DATA_SAMPLER(.name = "zoo_shuffle", .help = "shuffles",
                                                        KEEL_PARAMS(KEEL_PARAM_BOOL(
                                                            "outside", 0, "one row too far")),
                                                        .order = shuffle_order);

KEEL_PLUGIN("org.example.zoo", "1.2.3", &dpo, &tokens, &groups, &linear, &by_hand, &bad, &count,
            &once, &shuffle)
