#include "keel.h"
#include <math.h>

/* Prefers responses of a wanted length: score = -|bytes - target| / target. */
static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    double target = keel_num(c, "target");
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(-fabs((double)keel_text(c, "response", i).n - target) / target);
    return KEEL_OK;
}
static const keel_component brief = KEEL_REWARD(.name = "brief",
    .help = "Prefers responses of `target` bytes.",
    KEEL_PARAMS(KEEL_PARAM_I64("target", 80, 1, 1e6, "Wanted bytes.")), .score = score);
KEEL_PLUGIN("org.example.brief", "1.0.0", &brief)
