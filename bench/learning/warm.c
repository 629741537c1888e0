#include "keel.h"
#include <ctype.h>
#include <string.h>

/* How many different warm words a response has, `wanted` of them give 1. */
static const char *const words[] = {"happy", "love", "kind", "friend", "smile",
                                    "hug",   "play", "fun",  "nice",   "good"};
enum { WORDS = sizeof words / sizeof *words };

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    double wanted = keel_num(c, "wanted");
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        unsigned seen = 0;
        for (size_t at = 0; at < text.n;) {
            size_t end = at;
            while (end < text.n && isalpha((unsigned char)text.p[end]))
                end++;
            for (int w = 0; w < WORDS; w++)
                if (strlen(words[w]) == end - at && memcmp(words[w], text.p + at, end - at) == 0)
                    seen |= 1u << w;
            at = end + 1;
        }
        double found = __builtin_popcount(seen);
        out[i] = (float)(found < wanted ? found / wanted : 1);
    }
    return KEEL_OK;
}

static const keel_component warm = KEEL_REWARD(.name = "warm",
                                               .help = "Different warm words of the response.",
                                               KEEL_PARAMS(KEEL_PARAM_I64("wanted", 4, 1, 10,
                                                                          "this many give 1")),
                                               .score = score);
KEEL_PLUGIN("bench.warm", "1.0.0", &warm)
