/* my_plugin: excludes tokens less likely than `min_p` times the likeliest one (min-p sampling, arXiv:2407.01082), then
 * lets the host draw from what is left. */
#include "keel.h"
#include <math.h>

static keel_status sample(
    void *self, keel_call *c, const keel_array *logits, void *const *seq, int32_t *token) {
    int64_t rows = logits->shape[0], vocabulary = logits->shape[1];
    float distance = (float)log(keel_num(c, "min_p"));
    for (int64_t b = 0; b < rows; b++) {
        float *row = keel_f32(logits) + b * vocabulary, best = row[0];
        for (int64_t v = 1; v < vocabulary; v++)
            best = row[v] > best ? row[v] : best;
        for (int64_t v = 0; v < vocabulary; v++)
            row[v] = row[v] < best + distance ? -INFINITY : row[v];
        token[b] = -1; /* the host draws, with its own random numbers */
    }
    return KEEL_OK;
}

static const keel_component component = KEEL_TOKEN_SAMPLER(.name = "my_plugin",
    .help = "Leaves out tokens much less likely than the likeliest one.",
    KEEL_PARAMS(KEEL_PARAM_F64("min_p", 0.1, 1e-6, 1, "Share of the highest probability.")),
    .sample = sample);

KEEL_PLUGIN("org.example.my_plugin", "0.1.0", &component)
