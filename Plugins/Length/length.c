#include "keel.h"

/* Prefers responses of a wanted length: score = n / target below it, target / n above; 1 at the target.
 * n counts bytes, characters (UTF-8 code points) or words (runs without white space). */

static size_t count(keel_str s, int unit) {
    size_t n = 0;
    int inside = 0;
    if (unit == 0)
        return s.n;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char byte = (unsigned char)s.p[i];
        int space = byte == ' ' || (byte >= '\t' && byte <= '\r');
        if (unit == 1)
            n += (byte & 0xC0) != 0x80;
        if (unit == 2)
            n += !space && !inside;
        inside = !space;
    }
    return n;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    double target = keel_num(c, "target");
    int unit = (int)keel_num(c, "unit");
    (void)self;
    for (size_t i = 0; i < n; i++) {
        double length = (double)count(keel_text(c, "response", i), unit);
        out[i] = (float)(length < target ? length / target : target / length);
    }
    return KEEL_OK;
}

static const keel_component length = KEEL_REWARD(
        .name = "length", .help = "1 for a response of the wanted length, less otherwise.",
        KEEL_PARAMS(
            KEEL_PARAM_I64("target", 200, 1, 1e6, "The wanted length."),
            KEEL_PARAM_ENUM("unit", "bytes", "What is counted.", "bytes", "characters", "words")),
        .flags = KEEL_PARALLEL, .score = score);

KEEL_PLUGIN("keel.length", "1.0.0", &length)
