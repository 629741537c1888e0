/* A reward in plain C: prefers complete answers of moderate length that do not repeat themselves.
 *
 *     score = ending * length * fresh, between 0 and 1
 *
 * ending    1 when the answer ends with a full stop, a question or an exclamation mark, else 1/4
 * length    1 for `shortest` to `longest` words, less outside: the square of the ratio
 * fresh     1 less 4 times the share of word pairs that occurred before, at least 0
 *
 * An answer without a word scores 0. Words are runs of letters and digits, compared without case. */
#include "keel.h"

enum { MAX_WORDS = 512 };

/* One word as a number (FNV-1a of its lower-case letters); two equal numbers mean the same word here. */
static uint32_t next_word(const char **p, const char *end) {
    uint32_t hash = 0;
    for (; *p < end; (*p)++) {
        unsigned char b = (unsigned char)**p;
        if (b >= 'A' && b <= 'Z')
            b = (unsigned char)(b + 32);
        int is_word = (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b >= 128;
        if (is_word) {
            hash = ((hash ? hash : 2166136261u) ^ b) * 16777619u;
        } else if (hash) {
            break;
        }
    }
    return hash;
}

/* The last byte that is not white space, or 0. */
static char last_byte(keel_str s) {
    while (s.n > 0 && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s.n > 0 ? s.p[s.n - 1] : 0;
}

static double score_one(keel_str answer, double shortest, double longest) {
    uint32_t words[MAX_WORDS];
    size_t n = 0, repeated = 0;
    const char *p = answer.p, *end = answer.p + answer.n;
    while (n < MAX_WORDS && (words[n] = next_word(&p, end)) != 0)
        n++;
    if (n == 0)
        return 0;
    for (size_t i = 1; i + 1 < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (words[i] == words[j] && words[i + 1] == words[j + 1]) {
                repeated++;
                break;
            }
        }
    }
    double count = (double)n;
    double length = count < shortest ? count / shortest : count > longest ? longest / count : 1;
    double fresh = n > 1 ? 1 - 4 * (double)repeated / (count - 1) : 1;
    char last = last_byte(answer);
    double ending = last == '.' || last == '!' || last == '?' ? 1 : 0.25;
    return fresh > 0 ? ending * length * length * fresh : 0;
}

static keel_status score(void *self, keel_call *c, size_t n, float *scores) {
    (void)self;
    double shortest = keel_num(c, "shortest"), longest = keel_num(c, "longest");
    if (longest < shortest)
        return keel_fail(c, KEEL_E_INVALID, "longest is below shortest");
    for (size_t i = 0; i < n; i++) {
        scores[i] = (float)score_one(keel_text(c, "response", i), shortest, longest);
    }
    return KEEL_OK;
}

static const keel_component concise = KEEL_REWARD(
        .name = "concise", .help = "complete answers of moderate length without repeated phrases",
        KEEL_PARAMS(KEEL_PARAM_I64("shortest", 5, 1, 500, "fewest words of a good answer"),
                    KEEL_PARAM_I64("longest", 24, 1, 500, "most words of a good answer")),
        .flags = KEEL_PARALLEL, .score = score);

KEEL_PLUGIN("keel.samples.concise", "1.0.0", &concise)
