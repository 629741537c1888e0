#include "keel.h"
#include <math.h>

/* The score of a reward model, which the host computes for the entry's "model": {"path": DIR}.
 *
 *     score = clip(s(scale * x + offset))      x: column model_scores,   s: identity, or 1 / (1 + e^-x) with `sigmoid`
 *
 * A row that the model has not scored (NaN) gets none: the reward does not apply. */

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    double scale = keel_num(c, "scale"), offset = keel_num(c, "offset");
    int squash = keel_num(c, "sigmoid") != 0;
    size_t bounds;
    const double *clip = keel_list(c, "clip", &bounds);
    keel_array scores;
    (void)self;
    if (keel_column(c, "model_scores", &scores) != KEEL_OK)
        return KEEL_E_MISSING;
    for (size_t i = 0; i < n; i++) {
        double x = scale * keel_f64(&scores)[i] + offset;
        if (squash)
            x = x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
        if (bounds == 2)
            x = x < clip[0] ? clip[0] : x > clip[1] ? clip[1] : x;
        out[i] = (float)x;
    }
    return KEEL_OK;
}

static void *create(keel_call *c) {
    size_t bounds;
    const double *clip = keel_list(c, "clip", &bounds);
    if (bounds != 0 && (bounds != 2 || clip[0] >= clip[1]))
        keel_fail(c, KEEL_E_INVALID, "clip takes two numbers, the lower first, or [] for none");
    return NULL;
}

static const keel_component model = KEEL_REWARD(
        .name = "model",
        .help = "What a reward model says; the entry names it: \"model\": {\"path\": DIR}.",
        KEEL_NEEDS("model_scores"),
        KEEL_PARAMS(
            KEEL_PARAM_F64("scale", 1, -1e6, 1e6, "Factor of the model's score."),
            KEEL_PARAM_F64("offset", 0, -1e6, 1e6, "Added to it."),
            KEEL_PARAM_BOOL("sigmoid", 0, "Turns the result into a probability."),
            KEEL_PARAM_LIST("clip", "[]", -1e9, 1e9, "Two bounds of the result; [] = none.")),
        .flags = KEEL_PARALLEL, .create = create, .score = score);

KEEL_PLUGIN("keel.model", "1.0.0", &model)
