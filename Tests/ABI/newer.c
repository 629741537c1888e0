/* A plugin of a later minor: its header's structs and table have grown (ABI.swift makes that header from today's), and it
 * fills the new fields. With -DKEEL_API=1 it also calls a function that hosts before minor 1 do not have. */
#include "keel.h"

static keel_status finish(void *self, keel_call *c) {
    (void)self;
    keel_metric(c, "finished", 1);
    return KEEL_OK;
}
static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        double x = (double)keel_text(c, "response", i).n * keel_num(c, "scale");
#if KEEL_API >= 1
        x = keel_novelty(c, x);
#endif
        out[i] = (float)x;
    }
    return KEEL_OK;
}
static const keel_component newer = KEEL_REWARD(
        .name = "newer", .help = "bytes, times a scale",
        KEEL_PARAMS({.name = "shift", .type = KEEL_TYPE_F64, .value = 9, .step = 0.5},
                    {.name = "scale", .type = KEEL_TYPE_F64, .value = 2, .unit = "points"}),
        .score = score, .category = "length", .finish = finish);
KEEL_PLUGIN("test.newer", "1.0.0", &newer)
