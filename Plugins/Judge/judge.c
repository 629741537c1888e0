#include "../Text/number.h"
#include "../Text/pattern.h"

/* The verdict of a generative critic, which the host runs for the entry's "judge": {"path": DIR, "max_new_tokens": N}.
 *
 * `ask` fills the template for each row: {prompt}, {response}, {/pointer} (a value of the data set row by JSON pointer) and
 * {name} (its field "name"); {{ and }} stand for { and }. A row without a wanted field is not asked and gets no score.
 * `score` reads the verdict out of the reply:
 *
 *     yes_no    1 for one of the words `yes`, 0 for one of `no`
 *     number    (x - low) / (high - low)     for a number x from low to high
 *     regex     the same two ways, in the first group of `pattern` (in its match, where it has none)
 *
 * `take` says which word, number or match counts, the first or the last. A reply without a verdict gives NaN, "does not
 * apply", never a number, and is counted in the metric unparsed. */

enum { YES_NO, NUMBER, REGEX };
enum { FIRST, LAST };

/* ---------------------------------------------------------------- questions */

typedef struct text {
    char *p;
    size_t n, room;
    int failed;
} text;

static void append(text *t, const char *p, size_t n) {
    if (t->n + n > t->room) {
        size_t room = 2 * (t->n + n) + 256;
        char *grown = realloc(t->p, room);
        if (!grown) {
            t->failed = 1;
            return;
        }
        t->p = grown, t->room = room;
    }
    if (n > 0)
        memcpy(t->p + t->n, p, n);
    t->n += n;
}

/* The value of a placeholder; p null when the row does not have it. */
static keel_str value(keel_call *c, size_t row, const char *name, size_t n) {
    keel_str key = {name, n};
    if (keel_is(key, "prompt") || keel_is(key, "response"))
        return keel_text(c, n == 6 ? "prompt" : "response", row);
    char pointer[258] = "/";
    size_t start = n > 0 && name[0] == '/' ? 0 : 1;
    memcpy(pointer + start, name, n);
    pointer[start + n] = 0;
    return keel_field(c, row, pointer);
}

/* Where the placeholder that begins at template[i] = '{' ends, or 0: then it is a brace like any other. */
static size_t placeholder_end(const char *template, size_t n, size_t i) {
    for (size_t j = i + 1; j < n && j - i <= 255; j++) {
        if (template[j] == '}')
            return j > i + 1 ? j : 0;
        if (template[j] == '{' || template[j] == '\n' || template[j] == '"')
            return 0;
    }
    return 0;
}

/* Fills the template; 0 when a field is missing. */
static int fill(keel_call *c, keel_str template, size_t row, text *out) {
    out->n = 0;
    for (size_t i = 0; i < template.n;) {
        const char *p = template.p + i;
        if (i + 1 < template.n && (p[0] == '{' || p[0] == '}') && p[0] == p[1]) {
            append(out, p, 1);
            i += 2;
            continue;
        }
        size_t end = p[0] == '{' ? placeholder_end(template.p, template.n, i) : 0;
        if (end == 0) {
            append(out, p, 1);
            i++;
            continue;
        }
        keel_str s = value(c, row, p + 1, end - i - 1);
        if (!s.p)
            return 0;
        append(out, s.p, s.n);
        i = end + 1;
    }
    return 1;
}

static keel_status ask(void *self, keel_call *c, size_t n) {
    keel_str template = keel_string(c, "template");
    text question = {0};
    keel_status status = KEEL_OK;
    (void)self;
    for (size_t i = 0; i < n && status == KEEL_OK; i++) {
        int complete = fill(c, template, i, &question);
        if (question.failed)
            status = keel_fail(c, KEEL_E_INTERNAL, "out of memory");
        else if (complete)
            status = keel_put_text(c, "ask", i, question.p ? question.p : "", question.n);
        if (status == KEEL_OK)
            keel_metric(c, "asked", complete);
    }
    free(question.p);
    return status;
}

/* ---------------------------------------------------------------- verdicts */

static int is_word_byte(char b) {
    b = text_lower(b);
    return (b >= 'a' && b <= 'z') || text_is_digit(b) || b == '\'' || (unsigned char)b >= 0x80;
}

/* Whether one of the words "a|b c" stands at p[i], as whole words. */
static int word_at(const char *p, size_t n, size_t i, const char *words) {
    const char *word;
    size_t length;
    if (i > 0 && is_word_byte(p[i - 1]))
        return 0;
    while (text_next_word(&words, &word, &length))
        if (length > 0 && i + length <= n && text_same(p + i, word, length) &&
            (i + length == n || !is_word_byte(p[i + length])))
            return 1;
    return 0;
}

static int read_words(keel_call *c, keel_str s, int last, double *verdict) {
    const char *yes = keel_string(c, "yes").p, *no = keel_string(c, "no").p;
    int found = 0;
    for (size_t i = 0; i < s.n && !(found && !last); i++) {
        int is_yes = word_at(s.p, s.n, i, yes);
        if (is_yes || word_at(s.p, s.n, i, no))
            *verdict = is_yes, found = 1;
    }
    return found;
}

static int read_number(keel_call *c, keel_str s, int last, double *verdict) {
    double low = keel_num(c, "low"), high = keel_num(c, "high"), x;
    if (!text_find_number(s.p, s.n, last, &x) || x < low || x > high)
        return 0;
    *verdict = (x - low) / (high - low);
    return 1;
}

/* The text that the pattern marks as the verdict; p null for none. */
static keel_str marked(text_pattern *pattern, keel_str s, int last) {
    keel_str none = {0, 0}, part = none;
    const PCRE2_SIZE *ends;
    size_t at = 0, group = text_pattern_groups(pattern) > 0 ? 2 : 0;
    text_pattern_begin(pattern);
    for (;;) {
        int found = text_pattern_find(pattern, s, at, PCRE2_NOTEMPTY, &ends);
        if (found < 0)
            return none;
        if (found == 0)
            return part;
        if (ends[group] != PCRE2_UNSET && ends[group] <= ends[group + 1])
            part = (keel_str){s.p + ends[group], ends[group + 1] - ends[group]};
        if (!last || ends[1] <= at)
            return part;
        at = ends[1];
    }
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    int verdict = (int)keel_num(c, "verdict"), last = (int)keel_num(c, "take") == LAST;
    for (size_t i = 0; i < n; i++) {
        keel_str s = keel_text(c, "reply", i);
        double x = 0;
        int found = 0;
        if (!s.p)
            continue;
        if (verdict == REGEX)
            s = marked(self, s, last);
        if (s.p && verdict != YES_NO)
            found = read_number(c, s, last, &x);
        if (s.p && !found && verdict != NUMBER)
            found = read_words(c, s, last, &x);
        if (found)
            out[i] = (float)x;
        keel_metric(c, "unparsed", !found);
    }
    return KEEL_OK;
}

static void *create(keel_call *c) {
    if (keel_num(c, "low") >= keel_num(c, "high"))
        keel_fail(c, KEEL_E_INVALID, "low must be below high");
    if (keel_string(c, "template").n == 0)
        keel_fail(c, KEEL_E_INVALID, "template is empty: the judge would be asked nothing");
    if ((int)keel_num(c, "verdict") != REGEX)
        return NULL;
    return text_pattern_new(c, "pattern", "im", 0, 1e7);
}

static void destroy(void *self) { text_pattern_free(self); }

#define TEMPLATE                                                                                   \
    "Question: {prompt}\nAnswer: {response}\nIs this a good answer? Say yes or no.\nVerdict:"

static const keel_component judge = KEEL_REWARD(
        .name = "judge",
        .help = "What a judge replies about a response; the entry names it: \"judge\": {\"path\": "
                "DIR}.",
        KEEL_PARAMS(KEEL_PARAM_STR("template", TEMPLATE,
                                   "The question; {prompt}, {response}, {/field} are filled in."),
                    KEEL_PARAM_ENUM("verdict", "yes_no", "How a reply is read.", "yes_no", "number",
                                    "regex"),
                    KEEL_PARAM_ENUM("take", "first", "Which word, number or match counts.", "first",
                                    "last"),
                    KEEL_PARAM_STR("yes", "yes|good|correct|true",
                                   "Words for 1, with | between them; case does not count."),
                    KEEL_PARAM_STR("no", "no|bad|wrong|incorrect|false", "Words for 0."),
                    KEEL_PARAM_F64("low", 0, -1e9, 1e9,
                                   "The number that scores 0; lower ones are no verdict."),
                    KEEL_PARAM_F64("high", 10, -1e9, 1e9,
                                   "The number that scores 1; higher ones are no verdict."),
                    KEEL_PARAM_STR("pattern", "verdict:\\s*(\\S+)",
                                   "regex: where the verdict stands; case does not count.")),
        .create = create, .destroy = destroy, .ask = ask, .score = score);

KEEL_PLUGIN("keel.judge", "1.0.0", &judge)
