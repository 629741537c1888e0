/* Objectives with one fault each. */
#include "zoo.h"
#include <math.h>

#define ZOO_OBJECTIVE(NAME, HELP, ...)                                                             \
    static const keel_component NAME##_component = KEEL_OBJECTIVE(.name = #NAME, .help = HELP,     \
                                                                  __VA_ARGS__,                     \
                                                                  .loss = NAME##_loss)

/* The column as an array, row by row; at most 64 rows, more than any check uses. */
#define ROWS 64

/* Squares of the sequence log-probabilities, whose gradient is given a tenth too large. */
static keel_t wrong_gradient_loss(void *self, keel_call *c) {
    (void)self;
    keel_array x;
    if (keel_read(c, keel_in(c, "seq_logprobs"), &x))
        return (keel_t){0};
    double loss[ROWS], grad[ROWS];
    size_t n = keel_cells(&x) < ROWS ? keel_cells(&x) : ROWS;
    for (size_t i = 0; i < n; i++) {
        double value = keel_f64(&x)[i] / 100;
        loss[i] = value * value;
        grad[i] = 1.1 * 2 * value / 100;
    }
    int64_t shape[1] = {(int64_t)n};
    keel_array g = keel_array_f64(grad, shape, 1), l = keel_array_f64(loss, shape, 1);
    keel_grad(c, "seq_logprobs", &g);
    return keel_upload(c, &l);
}
ZOO_OBJECTIVE(wrong_gradient, "Gives a gradient that is a tenth too large.", .data = "scored",
              KEEL_NEEDS("seq_logprobs"), .flags = KEEL_EXPLICIT_GRAD);

/* Gives a gradient for the rewards, which are constants. */
static keel_t constant_gradient_loss(void *self, keel_call *c) {
    (void)self;
    keel_array x;
    if (keel_read(c, keel_in(c, "seq_logprobs"), &x))
        return (keel_t){0};
    double grad[ROWS];
    size_t n = keel_cells(&x) < ROWS ? keel_cells(&x) : ROWS;
    for (size_t i = 0; i < n; i++)
        grad[i] = 1;
    int64_t shape[1] = {(int64_t)n};
    keel_array g = keel_array_f64(grad, shape, 1);
    keel_grad(c, "seq_logprobs", &g);
    keel_grad(c, "rewards", &g);
    return keel_upload(c, &x);
}
ZOO_OBJECTIVE(constant_gradient, "Gives a gradient for a constant.", .data = "scored",
              KEEL_NEEDS("seq_logprobs", "rewards"), .flags = KEEL_EXPLICIT_GRAD);

/* Keeps a tensor for the next call. */
static keel_t kept;
static keel_t stale_handle_loss(void *self, keel_call *c) {
    (void)self;
    keel_t x = keel_in(c, "seq_logprobs"), old = kept.id ? kept : x;
    kept = x;
    return keel_neg(c, old);
}
ZOO_OBJECTIVE(stale_handle, "Uses a tensor of an earlier call.", .data = "scored",
              KEEL_NEEDS("seq_logprobs"));

static keel_t other_column_loss(void *self, keel_call *c) {
    (void)self;
    return keel_sub(c, keel_in(c, "ref_seq_logprobs"), keel_in(c, "seq_logprobs"));
}
ZOO_OBJECTIVE(other_column, "Reads a column that it does not need.", .data = "scored",
              KEEL_NEEDS("seq_logprobs"));

/* log 0 for rows whose log-probability is ordinary: the loss is infinite at once. */
static keel_t infinite_loss_loss(void *self, keel_call *c) {
    (void)self;
    keel_t x = keel_in(c, "seq_logprobs");
    return keel_sub(c, keel_log(c, keel_sub(c, x, x)), x);
}
ZOO_OBJECTIVE(infinite_loss, "Takes the logarithm of 0.", .data = "scored",
              KEEL_NEEDS("seq_logprobs"));

/* -log(1 / (1 + e^-z)): right for ordinary z, infinite for large ones. */
static keel_t naive_sigmoid_loss(void *self, keel_call *c) {
    (void)self;
    keel_t z = keel_sub(c, keel_in(c, "chosen.seq_logprobs"), keel_in(c, "rejected.seq_logprobs"));
    return keel_log(c, keel_offset(c, keel_exp(c, keel_neg(c, z)), 1));
}
ZOO_OBJECTIVE(naive_sigmoid, "Overflows where log-probabilities are far apart.", .data = "pairs",
              KEEL_NEEDS("chosen.seq_logprobs", "rejected.seq_logprobs"));

/* sqrt((a - b)^2) has no derivative where a = b, and 0 / 0 for one. */
static keel_t tie_nan_loss(void *self, keel_call *c) {
    (void)self;
    keel_t d = keel_sub(c, keel_in(c, "chosen.seq_logprobs"), keel_in(c, "rejected.seq_logprobs"));
    return keel_sqrt(c, keel_square(c, d));
}
ZOO_OBJECTIVE(tie_nan, "Has no gradient where both sides are equal.", .data = "pairs",
              KEEL_NEEDS("chosen.seq_logprobs", "rejected.seq_logprobs"));

/* The mean over all cells of a row, padding included. */
static keel_t padding_loss(void *self, keel_call *c) {
    (void)self;
    return keel_neg(c,
                    keel_mean_axis(c, keel_mul(c, keel_in(c, "logprobs"), keel_in(c, "mask")), 1));
}
ZOO_OBJECTIVE(padding, "Divides by the width of the batch.", .data = "text",
              KEEL_NEEDS("logprobs", "mask"));

/* Less the mean over the rows that happen to be in this micro-batch. */
static keel_t micro_batch_loss(void *self, keel_call *c) {
    (void)self;
    keel_t x = keel_in(c, "seq_logprobs");
    return keel_square(c, keel_sub(c, x, keel_mean(c, x)));
}
ZOO_OBJECTIVE(micro_batch, "Compares rows without saying that it is coupled.", .data = "scored",
              KEEL_NEEDS("seq_logprobs"));

/* Each call of prepare shrinks the advantages it gave before. */
static double scale = 1;
static keel_status give(keel_call *c, double factor) {
    keel_array rewards;
    if (keel_column(c, "rewards", &rewards))
        return KEEL_E_MISSING;
    double out[ROWS];
    size_t n = keel_cells(&rewards) < ROWS ? keel_cells(&rewards) : ROWS;
    for (size_t i = 0; i < n; i++)
        out[i] = factor * keel_f64(&rewards)[i];
    int64_t shape[1] = {(int64_t)n};
    keel_array a = keel_array_f64(out, shape, 1);
    return keel_put(c, "advantages", &a);
}
static keel_status prepare_drift_prepare(void *self, keel_call *c) {
    (void)self;
    scale *= 0.9;
    return give(c, scale);
}
static keel_t weighted(keel_call *c) {
    return keel_neg(c, keel_mul(c, keel_in(c, "seq_logprobs"), keel_in(c, "advantages")));
}
static keel_t prepare_drift_loss(void *self, keel_call *c) {
    (void)self;
    return weighted(c);
}
ZOO_OBJECTIVE(prepare_drift, "Prepares something else each time.", .data = "scored",
              KEEL_NEEDS("seq_logprobs", "rewards"), KEEL_GIVES("advantages"),
              .prepare = prepare_drift_prepare);

static keel_status missing_gift_prepare(void *self, keel_call *c) {
    (void)self;
    return give(c, 1);
}
static keel_t missing_gift_loss(void *self, keel_call *c) {
    (void)self;
    return weighted(c);
}
ZOO_OBJECTIVE(missing_gift, "Gives one of the two columns that it declares.", .data = "scored",
              KEEL_NEEDS("seq_logprobs", "rewards"), KEEL_GIVES("advantages", "returns"),
              .prepare = missing_gift_prepare);

KEEL_PLUGIN("org.example.zoo.objectives", "1.0.0", &wrong_gradient_component,
            &constant_gradient_component, &stale_handle_component, &other_column_component,
            &infinite_loss_component, &naive_sigmoid_component, &tie_nan_component,
            &padding_component, &micro_batch_component, &prepare_drift_component,
            &missing_gift_component)
