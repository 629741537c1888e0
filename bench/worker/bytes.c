/* The least that a reward can do: its time is the time of the call. */
#include "keel.h"

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    double target = keel_num(c, "target");
    for (size_t i = 0; i < n; i++) {
        double length = (double)keel_text(c, "response", i).n;
        out[i] = (float)(length < target ? length / target : target / length);
    }
    return KEEL_OK;
}
static const keel_component bytes = KEEL_REWARD(
        .name = "bytes", .help = "1 for a response of `target` bytes, less otherwise.",
        KEEL_PARAMS(KEEL_PARAM_I64("target", 200, 1, 1e6, "Wanted bytes.")), .score = score);
KEEL_PLUGIN("keel.bench", "1.0.0", &bytes)
