/* Samplers with one fault each. */
#include "zoo.h"
#include <stdlib.h>

#define ZOO_SAMPLER(NAME, HELP, ...)                                                               \
    static const keel_component NAME##_component = KEEL_TOKEN_SAMPLER(.name = #NAME, .help = HELP, \
                                                                      __VA_ARGS__)

/* The likeliest token of a row. */
static int32_t best(const keel_array *logits, size_t row) {
    size_t vocabulary = (size_t)logits->shape[1], best = 0;
    const float *cells = keel_f32(logits) + row * vocabulary;
    for (size_t v = 1; v < vocabulary; v++)
        if (cells[v] > cells[best])
            best = v;
    return (int32_t)best;
}
#define ZOO_SAMPLE(NAME, ...)                                                                      \
    static keel_status NAME##_sample(void *self, keel_call *c, const keel_array *logits,           \
                                     void *const *seq, int32_t *token) {                           \
        (void)self, (void)c, (void)seq;                                                            \
        for (size_t b = 0; b < (size_t)logits->shape[0]; b++) {                                    \
            token[b] = best(logits, b);                                                            \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        return KEEL_OK;                                                                            \
    }

ZOO_SAMPLE(token_range, token[b] = (int32_t)logits->shape[1];)
ZOO_SAMPLER(token_range, "Takes a token that the vocabulary does not have.",
            .sample = token_range_sample);

/* Takes token 0 where it is excluded. */
ZOO_SAMPLE(impossible_token, size_t at = b * (size_t)logits->shape[1];
           if (keel_f32(logits)[at] == -1.0f / 0.0f) token[b] = 0;)
ZOO_SAMPLER(impossible_token, "Takes a token of probability 0.", .sample = impossible_token_sample);

ZOO_SAMPLE(exhausted, size_t at = b * (size_t)logits->shape[1] + (size_t)token[b];
           if (keel_f32(logits)[at] == -1.0f / 0.0f) abort();)
ZOO_SAMPLER(exhausted, "Cannot stand that no token is left.", .sample = exhausted_sample);

/* Counts its draws by the row of the call: wrong as soon as another sequence takes the row. */
static void *row_state_create(keel_call *c) {
    (void)c;
    return calloc(4096, sizeof(float));
}
ZOO_SAMPLE(
    row_state, float *draws = self; if (draws) {
        keel_f32(logits)[b * (size_t)logits->shape[1]] += draws[b % 4096]++;
        token[b] = -1;
    })
ZOO_SAMPLER(row_state, "Keeps its state by the row of the call.", .create = row_state_create,
            .destroy = free, .sample = row_state_sample);

/* The neighbour's logits count too. */
ZOO_SAMPLE(mixing, size_t width = (size_t)logits->shape[1];
           if (b > 0) keel_f32(logits)[b * width] += keel_f32(logits)[(b - 1) * width] + 1;
           token[b] = -1;)
ZOO_SAMPLER(mixing, "Adds the logits of the row before.", .sample = mixing_sample);

static keel_status order_range_order(void *self, keel_call *c, int64_t epoch, int64_t *out,
                                     size_t n) {
    (void)self, (void)epoch;
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)(i % keel_rows(c)) + 1;
    return KEEL_OK;
}
static const keel_component order_range_component = KEEL_DATA_SAMPLER(.name = "order_range",
                                                                      .help = "Counts rows from 1.",
                                                                      .order = order_range_order);

static keel_status order_drift_order(void *self, keel_call *c, int64_t epoch, int64_t *out,
                                     size_t n) {
    (void)self, (void)epoch;
    static size_t calls;
    calls++;
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)((i + calls) % keel_rows(c));
    return KEEL_OK;
}
static const keel_component order_drift_component = KEEL_DATA_SAMPLER(
        .name = "order_drift", .help = "Another order each time it is asked.",
        .order = order_drift_order);

KEEL_PLUGIN("org.example.zoo.samplers", "1.0.0", &token_range_component,
            &impossible_token_component, &exhausted_component, &row_state_component,
            &mixing_component, &order_range_component, &order_drift_component)
