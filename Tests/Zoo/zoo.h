/* What the bad plugins of the zoo share. */
#ifndef ZOO_H
#define ZOO_H
#include "keel.h"

/* The bad rewards take one parameter: they misbehave on rows whose prompt holds that text; "" means on all rows. */
#define ZOO_TRIGGER                                                                                \
    KEEL_PARAM_STR("trigger", "", "Misbehaves on rows whose prompt holds this text.")

static inline int triggered(keel_call *c, size_t row) {
    keel_str text = keel_text(c, "prompt", row), wanted = keel_string(c, "trigger");
    for (size_t at = 0; text.p && at + wanted.n <= text.n; at++)
        if (memcmp(text.p + at, wanted.p, wanted.n) == 0)
            return 1;
    return 0;
}

/* What a row scores that nothing happens to: its bytes in hundreds. */
static inline float healthy(keel_call *c, size_t row) {
    return (float)keel_text(c, "response", row).n / 100;
}

/* A reward named NAME with the score function NAME_score; then further fields. */
#define ZOO_REWARD(NAME, HELP, ...)                                                                \
    static const keel_component NAME##_component = KEEL_REWARD(.name = #NAME, .help = HELP,        \
                                                               KEEL_PARAMS(ZOO_TRIGGER),           \
                                                               __VA_ARGS__)

/* A score function that does BODY on triggered rows, after writing a healthy score. */
#define ZOO_SCORE(NAME, ...)                                                                       \
    static keel_status NAME##_score(void *self, keel_call *c, size_t n, float *out) {              \
        (void)self;                                                                                \
        for (size_t i = 0; i < n; i++) {                                                           \
            out[i] = healthy(c, i);                                                                \
            if (triggered(c, i)) {                                                                 \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
        return KEEL_OK;                                                                            \
    }
#endif
