#include "../Text/number.h"
#include "keel.h"
#include <math.h>
#include <stdio.h>

/* Whether the answer in a response is the one in the data set row: `correct`, else `wrong`.
 *
 * The response's answer:
 *
 *     auto          what \boxed{...} holds; else what follows a marker; else the whole text
 *     boxed         the inside of the last \boxed{...}
 *     marker        what follows the last of `markers`, to the end of its line
 *     last_number   the last number
 *     whole         the whole text
 *
 * The row's answer is the value at the JSON pointer `field`, without what stands before a marker or around \boxed{...}
 * ("... #### 42" is 42); of a list, any of its values is right. No such field: NaN, the reward does not apply.
 *
 * Where the row's answer is a number, the response's is the last number in what was found, and they are equal when
 * |a - b| <= tolerance * max(1, |b|): 1,000 = 1000.0 = $1000 = 1e3, 1/2 = 0.5 = \frac{1}{2}; a sign of money before and % or a
 * full stop behind do not count. Else they are compared as texts, without white space at either end (inside, a run of it
 * is one space), quotes and $ around them and a full stop behind; case counts if asked. */

enum { AUTO, BOXED, MARKER, LAST_NUMBER, WHOLE };
enum { COMPARE_AUTO, COMPARE_NUMBER, COMPARE_STRING };

/* ---------------------------------------------------------------- finding the answer */

/* The inside of the last \boxed{...} with its braces in balance. */
static int find_boxed(keel_str s, keel_str *part) {
    static const char name[] = "\\boxed{";
    size_t length = sizeof name - 1;
    for (size_t i = s.n; i-- > 0;) {
        if (s.n - i < length || memcmp(s.p + i, name, length) != 0)
            continue;
        int depth = 1;
        size_t start = i + length;
        for (size_t j = start; j < s.n; j++) {
            depth += (s.p[j] == '{') - (s.p[j] == '}');
            if (depth == 0) {
                *part = (keel_str){s.p + start, j - start};
                return 1;
            }
        }
        return 0; /* cut off in the middle: earlier ones are not the answer */
    }
    return 0;
}

/* What follows the last of the markers "a|b", to the end of its line; case does not count. */
static int find_marker(keel_str s, const char *markers, keel_str *part) {
    size_t best = 0;
    const char *word;
    size_t length;
    while (text_next_word(&markers, &word, &length))
        for (size_t i = s.n; length > 0 && i-- > 0;)
            if (i + length <= s.n && i + length > best && text_same(s.p + i, word, length)) {
                best = i + length;
                break;
            }
    if (best == 0)
        return 0;
    size_t end = best;
    while (end < s.n && s.p[end] != '\n')
        end++;
    *part = (keel_str){s.p + best, end - best};
    text_trim(&part->p, &part->n);
    return part->n > 0;
}

/* ---------------------------------------------------------------- comparing */

/* Without white space, matching quotes or $ around it, and a full stop behind it. */
static keel_str bare(keel_str s) {
    for (;;) {
        size_t before = s.n;
        text_trim(&s.p, &s.n);
        if (s.n > 1 && s.p[s.n - 1] == '.')
            s.n--;
        char a = s.n > 1 ? s.p[0] : 0;
        if (a && a == s.p[s.n - 1] && (a == '"' || a == '\'' || a == '$' || a == '*' || a == '`'))
            s.p++, s.n -= 2;
        if (s.n == before)
            return s;
    }
}

/* The text as a number: nothing but a number, a fraction of two, signs of money before and % behind it. */
static int as_number(keel_str s, double *value) {
    static const char *const signs[] = {"\\$", "$", "\xE2\x82\xAC", "\xC2\xA3"};
    s = bare(s);
    for (size_t k = 0; k < sizeof signs / sizeof *signs; k++)
        if (s.n > strlen(signs[k]) && memcmp(s.p, signs[k], strlen(signs[k])) == 0) {
            s.p += strlen(signs[k]), s.n -= strlen(signs[k]);
            break;
        }
    text_trim(&s.p, &s.n);
    if (s.n > 6 && memcmp(s.p, "\\frac{", 6) == 0) {
        double top, bottom;
        size_t i = 6, k = text_number(s.p + i, s.n - i, &top);
        i += k;
        if (k == 0 || s.n - i < 3 || s.p[i] != '}' || s.p[i + 1] != '{')
            return 0;
        i += 2;
        k = text_number(s.p + i, s.n - i, &bottom);
        if (k == 0 || i + k + 1 != s.n || s.p[i + k] != '}' || bottom == 0)
            return 0;
        *value = top / bottom;
        return 1;
    }
    size_t i = text_number(s.p, s.n, value);
    if (i == 0)
        return 0;
    if (i < s.n && s.p[i] == '/') {
        double bottom;
        size_t k = text_number(s.p + i + 1, s.n - i - 1, &bottom);
        if (k == 0 || bottom == 0)
            return 0;
        *value /= bottom;
        i += k + 1;
    }
    if (i < s.n && s.p[i] == '\\')
        i++;
    if (i < s.n && s.p[i] == '%')
        i++;
    return i == s.n;
}

static int same_text(keel_str a, keel_str b, int ignore_case) {
    a = bare(a), b = bare(b);
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        if (text_is_space(a.p[i]) && text_is_space(b.p[j])) {
            while (i < a.n && text_is_space(a.p[i]))
                i++;
            while (j < b.n && text_is_space(b.p[j]))
                j++;
            continue;
        }
        if (a.p[i] != b.p[j] && !(ignore_case && text_lower(a.p[i]) == text_lower(b.p[j])))
            return 0;
        i++, j++;
    }
    return i == a.n && j == b.n;
}

typedef struct rule {
    int extract, compare, ignore_case;
    double tolerance;
    const char *markers;
} rule;

/* The answer that a response gives; 0 when it gives none. */
static int answer_of(keel_str s, const rule *r, keel_str *answer) {
    double number;
    if ((r->extract == AUTO || r->extract == BOXED) && find_boxed(s, answer))
        return 1;
    if ((r->extract == AUTO || r->extract == MARKER) && find_marker(s, r->markers, answer))
        return 1;
    if (r->extract == BOXED || r->extract == MARKER)
        return 0;
    *answer = s;
    text_trim(&answer->p, &answer->n);
    return r->extract == LAST_NUMBER ? text_find_number(s.p, s.n, 1, &number) : answer->n > 0;
}

/* What a response answers, looked at once whatever it is compared with. */
typedef struct given {
    keel_str text;
    int there, is_number;
    double number;
} given;

static given given_in(keel_str response, const rule *r) {
    given g = {{0, 0}, 0, 0, 0};
    g.there = answer_of(response, r, &g.text);
    /* An answer of words may hold the number: "she has 42 apples". */
    if (g.there && r->compare != COMPARE_STRING)
        g.is_number = as_number(g.text, &g.number) ||
                      text_find_number(g.text.p, g.text.n, 1, &g.number);
    return g;
}

static int is_right(const given *g, keel_str want, const rule *r) {
    double number;
    keel_str part;
    if (!g->there)
        return 0;
    if (find_boxed(want, &part) || find_marker(want, r->markers, &part))
        want = part;
    if (r->compare != COMPARE_STRING && as_number(want, &number))
        return g->is_number && fabs(g->number - number) <= r->tolerance * fmax(1, fabs(number));
    return r->compare != COMPARE_NUMBER && same_text(g->text, want, r->ignore_case);
}

/* ---------------------------------------------------------------- lists of answers */

static size_t put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 0x3F));
    out[2] = (char)(0x80 | (code & 0x3F));
    return 3;
}

/* The bytes of the JSON string that begins behind its quote at list[*at]; written to `out`, which holds the list. */
static keel_str read_string(keel_str list, size_t *at, char *out) {
    size_t n = 0;
    while (*at < list.n && list.p[*at] != '"') {
        char c = list.p[(*at)++];
        if (c == '\\' && *at < list.n) {
            c = list.p[(*at)++];
            if (c == 'u' && *at + 4 <= list.n) {
                char digits[5] = {list.p[*at], list.p[*at + 1], list.p[*at + 2], list.p[*at + 3]};
                n += put_utf8(out + n, (unsigned)strtoul(digits, NULL, 16));
                *at += 4;
                continue;
            }
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        out[n++] = c;
    }
    *at += *at < list.n;
    return (keel_str){out, n};
}

/* The next value of a JSON list: a string's own bytes, anything else as it stands. 0 at the end. */
static int next_value(keel_str list, size_t *at, char *out, keel_str *item) {
    while (*at < list.n && (text_is_space(list.p[*at]) || list.p[*at] == ','))
        (*at)++;
    if (*at >= list.n || list.p[*at] == ']')
        return 0;
    if (list.p[*at] == '"') {
        (*at)++;
        *item = read_string(list, at, out);
        return 1;
    }
    size_t start = *at, depth = 0;
    for (; *at < list.n; (*at)++) {
        char c = list.p[*at];
        if (depth == 0 && (c == ',' || c == ']'))
            break;
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
    }
    *item = (keel_str){list.p + start, *at - start};
    text_trim(&item->p, &item->n);
    return 1;
}

/* Whether the answer is the row's or, where the field is a list, one of its values; -1 when there is no field. */
static int judge(keel_call *c, size_t row, const char *field, const given *g, const rule *r) {
    char pointer[512];
    keel_str want = keel_field(c, row, field), item;
    if (!want.p)
        return -1;
    /* A text that begins with [ is no list: only a list has a first value. */
    snprintf(pointer, sizeof pointer, "%s/0", field);
    if (want.n == 0 || want.p[0] != '[' || !keel_field(c, row, pointer).p)
        return is_right(g, want, r);
    char *room = malloc(want.n);
    if (!room) {
        keel_fail(c, KEEL_E_INTERNAL, "out of memory");
        return -1;
    }
    int right = 0;
    for (size_t at = 1; !right && next_value(want, &at, room, &item);)
        right = is_right(g, item, r);
    free(room);
    return right;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    rule r = {(int)keel_num(c, "extract"), (int)keel_num(c, "compare"),
              (int)keel_num(c, "ignore_case"), keel_num(c, "tolerance"),
              keel_string(c, "markers").p};
    double correct = keel_num(c, "correct"), wrong = keel_num(c, "wrong");
    double none = keel_num(c, "no_answer");
    const char *field = keel_string(c, "field").p;
    (void)self;
    if (!field)
        return KEEL_E_MISSING;
    for (size_t i = 0; i < n; i++) {
        given g = given_in(keel_text(c, "response", i), &r);
        int right = judge(c, i, field, &g, &r);
        if (right < 0)
            continue;
        out[i] = (float)(!g.there ? none : right ? correct : wrong);
        keel_metric(c, "answered", g.there);
        keel_metric(c, "accuracy", right);
    }
    return KEEL_OK;
}

static void *create(keel_call *c) {
    keel_str field = keel_string(c, "field");
    if (field.n == 0 || field.p[0] != '/')
        keel_fail(c, KEEL_E_INVALID,
                  "field is a JSON pointer into the data set row, such as \"/answer\"");
    else if (field.n > 400)
        keel_fail(c, KEEL_E_INVALID, "field is longer than 400 bytes");
    return NULL;
}

static const keel_component exact_answer = KEEL_REWARD(
        .name = "exact_answer",
        .help = "Whether a response's answer is the one in the data set row.",
        KEEL_PARAMS(
            KEEL_PARAM_STR("field", "/answer", "Where the row's answer stands, a JSON pointer."),
            KEEL_PARAM_ENUM("extract", "auto", "What of the response is its answer.", "auto",
                            "boxed", "marker", "last_number", "whole"),
            KEEL_PARAM_STR("markers", "####|answer:|answer is",
                           "What an answer follows, with | between them; case does not count."),
            KEEL_PARAM_ENUM("compare", "auto", "How answers are compared.", "auto", "number",
                            "string"),
            KEEL_PARAM_F64(
                "tolerance", 1e-6, 0, 1,
                "How far numbers may differ, relative to the larger of 1 and the right one."),
            KEEL_PARAM_BOOL("ignore_case", 1, "Whether A and a are the same (ASCII letters)."),
            KEEL_PARAM_F64("correct", 1, -1e6, 1e6, "The score of a right answer."),
            KEEL_PARAM_F64("wrong", 0, -1e6, 1e6, "The score of a wrong one."),
            KEEL_PARAM_F64("no_answer", 0, -1e6, 1e6, "The score where the response has none.")),
        .flags = KEEL_PARALLEL, .create = create, .score = score);

KEEL_PLUGIN("keel.exact_answer", "1.0.0", &exact_answer)
