#include "../Text/number.h"
#include "../Text/pattern.h"

/* Scores a text by a regular expression (PCRE2 10, UTF-8, Unicode classes unless the flag `a` is set).
 *
 *     match       match_score if the pattern matches somewhere, else miss_score
 *     fullmatch   match_score if it matches the whole text, else miss_score
 *     count       the number of its matches: not empty, from left to right, without overlap; at most max_count
 *     value       the number that group `group` of the first match holds; NaN where there is none
 *
 * Bytes that are not UTF-8 match nothing. A text that costs more than `step_limit` steps (items of the pattern tried, plus
 * bytes scanned) gets NaN, "does not apply", and is counted in the metric gave_up: no pattern can hang a run. */

enum { MATCH, FULLMATCH, COUNT, VALUE };

static void *create(keel_call *c) {
    int mode = (int)keel_num(c, "mode");
    text_pattern *own = text_pattern_new(c, "pattern", keel_string(c, "flags").p, mode == FULLMATCH,
                                         keel_num(c, "step_limit"));
    if (own && mode == VALUE && keel_num(c, "group") > text_pattern_groups(own)) {
        char text[160];
        snprintf(text, sizeof text, "group is %d, but the pattern has %u groups",
                 (int)keel_num(c, "group"), text_pattern_groups(own));
        keel_fail(c, KEEL_E_INVALID, text);
    }
    return own;
}

static void destroy(void *self) { text_pattern_free(self); }

/* Matches of a text, at most `most`; -1 when it gave up. */
static double count_matches(text_pattern *own, keel_str s, double most) {
    const PCRE2_SIZE *ends;
    double count = 0;
    size_t at = 0;
    while (count < most) {
        int found = text_pattern_find(own, s, at, PCRE2_NOTEMPTY, &ends);
        if (found < 0)
            return -1;
        if (found == 0 || ends[1] <= at)
            break;
        at = ends[1];
        count++;
    }
    return count;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    text_pattern *own = self;
    int mode = (int)keel_num(c, "mode");
    size_t group = (size_t)keel_num(c, "group");
    double hit = keel_num(c, "match_score"), miss = keel_num(c, "miss_score");
    double most = keel_num(c, "max_count");
    const char *column = (int)keel_num(c, "text") == 0 ? "response" : "prompt";
    for (size_t i = 0; i < n; i++) {
        keel_str s = keel_text(c, column, i);
        const PCRE2_SIZE *ends;
        int found;
        text_pattern_begin(own);
        if (mode == COUNT) {
            double count = count_matches(own, s, most > 0 ? most : 1e15);
            found = count < 0 ? TEXT_GAVE_UP : 1;
            if (found > 0)
                out[i] = (float)count;
        } else {
            found = text_pattern_find(own, s, 0, 0, &ends);
            if (found >= 0 && mode != VALUE)
                out[i] = (float)(found ? hit : miss);
            double value;
            if (found > 0 && mode == VALUE && ends[2 * group] != PCRE2_UNSET &&
                ends[2 * group] <= ends[2 * group + 1] &&
                text_find_number(s.p + ends[2 * group], ends[2 * group + 1] - ends[2 * group], 0,
                                 &value))
                out[i] = (float)value;
        }
        keel_metric(c, "gave_up", found < 0);
    }
    return KEEL_OK;
}

static const keel_component regex = KEEL_REWARD(
        .name = "regex", .help = "Whether, how often or with which number a pattern matches.",
        KEEL_PARAMS(
            KEEL_PARAM_STR("pattern", "\\S", "The regular expression, in PCRE2's syntax."),
            KEEL_PARAM_STR("flags", "",
                           "Letters: i, m, s, x as in Perl; U ungreedy; a ASCII classes."),
            KEEL_PARAM_ENUM("mode", "match", "What is scored.", "match", "fullmatch", "count",
                            "value"),
            KEEL_PARAM_ENUM("text", "response", "What is searched.", "response", "prompt"),
            KEEL_PARAM_I64("group", 1, 0, 1000,
                           "value: the group that holds the number; 0 = the match."),
            KEEL_PARAM_F64("match_score", 1, -1e6, 1e6, "match, fullmatch: the score of a match."),
            KEEL_PARAM_F64("miss_score", 0, -1e6, 1e6, "match, fullmatch: the score without one."),
            KEEL_PARAM_I64("max_count", 0, 0, 1e9, "count: matches counted at most; 0 = all."),
            KEEL_PARAM_I64("step_limit", 10000000, 1000, 1e12, "Steps that one text may cost.")),
        .create = create, .destroy = destroy, .score = score);

KEEL_PLUGIN("keel.regex", "1.0.0", &regex)
