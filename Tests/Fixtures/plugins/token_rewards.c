/* A reward for every token, which a run cannot use. */
#include "keel.h"

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    (void)c;
    for (size_t i = 0; i < n; i++)
        out[i] = 1;
    return KEEL_OK;
}
static const keel_component per_token = KEEL_REWARD(.name = "per_token",
                                                    .help = "One for every token.",
                                                    KEEL_GIVES("token_rewards"), .score = score);
KEEL_PLUGIN("org.example.per-token", "1.0.0", &per_token)
