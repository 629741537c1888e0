/* A regular expression (PCRE2) that cannot hang. Shared by the rewards that search texts; link with -lpcre2-8. */
#ifndef KEEL_TEXT_PATTERN_H
#define KEEL_TEXT_PATTERN_H

#include "keel.h"
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What a search ends with, besides a match (1) and none (0). */
enum { TEXT_GAVE_UP = -1 };

typedef struct text_pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    uint64_t spent, limit; /* steps on this text, and the most it may cost */
    size_t last;           /* where the latest step stood */
} text_pattern;

/* Called before each item of the pattern: counts it and the distance that was scanned to get there, so that the cost of
 * a text is the same on every machine. PCRE2's own limits hold for one start of a match, not for the whole text. */
static int text_pattern_step(pcre2_callout_block *block, void *data) {
    text_pattern *own = data;
    size_t at = block->current_position;
    own->spent += 1 + (at > own->last ? at - own->last : 0);
    own->last = at;
    return own->spent > own->limit ? PCRE2_ERROR_CALLOUT : 0;
}

static inline void text_pattern_free(text_pattern *own) {
    if (!own)
        return;
    pcre2_match_data_free(own->data);
    pcre2_match_context_free(own->context);
    pcre2_jit_stack_free(own->stack);
    pcre2_code_free(own->code);
    free(own);
}

/* The options of the letters i, m, s, x, U, a; the wrong letter, or 0, in `wrong`. */
static inline uint32_t text_pattern_flags(const char *letters, char *wrong) {
    uint32_t options = PCRE2_UTF | PCRE2_UCP;
    *wrong = 0;
    for (; *letters; letters++) {
        if (*letters == 'i')
            options |= PCRE2_CASELESS;
        else if (*letters == 'm')
            options |= PCRE2_MULTILINE;
        else if (*letters == 's')
            options |= PCRE2_DOTALL;
        else if (*letters == 'x')
            options |= PCRE2_EXTENDED;
        else if (*letters == 'U')
            options |= PCRE2_UNGREEDY;
        else if (*letters == 'a')
            options &= ~(uint32_t)PCRE2_UCP;
        else if (!*wrong)
            *wrong = *letters;
    }
    return options;
}

/* Compiles the pattern in a parameter; null after keel_fail, which says what is wrong and where. Bytes that are not UTF-8
 * match nothing, and no match reaches over them. `whole`: only the whole text can match. */
static inline text_pattern *text_pattern_new(keel_call *c, const char *param, const char *letters,
                                             int whole, double limit) {
    keel_str pattern = keel_string(c, param);
    char wrong, text[512], why[160];
    int number = 0;
    PCRE2_SIZE at = 0;
    if (!pattern.p || !letters)
        return NULL; /* the host has recorded why */
    uint32_t options = text_pattern_flags(letters, &wrong);
    if (wrong) {
        snprintf(
            text, sizeof text,
            "unknown flag '%c' in \"%.40s\"; known: i (case), m (lines), s (dot takes newlines), "
            "x (spaces and comments), U (ungreedy), a (ASCII classes)",
            wrong, letters);
        keel_fail(c, KEEL_E_INVALID, text);
        return NULL;
    }
    options |= PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
    if (whole)
        options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &number, &at, NULL);
    if (!code) {
        pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
        snprintf(text, sizeof text, "%s does not compile: %s at byte %zu, before \"%.40s\"", param,
                 why, (size_t)at, pattern.p + at);
        keel_fail(c, KEEL_E_INVALID, text);
        return NULL;
    }
    text_pattern *own = calloc(1, sizeof *own);
    if (!own) {
        pcre2_code_free(code);
        keel_fail(c, KEEL_E_INTERNAL, "out of memory");
        return NULL;
    }
    own->code = code;
    own->limit = (uint64_t)limit;
    own->data = pcre2_match_data_create_from_pattern(code, NULL);
    own->context = pcre2_match_context_create(NULL);
    own->stack = pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, NULL);
    if (!own->data || !own->context) {
        text_pattern_free(own);
        keel_fail(c, KEEL_E_INTERNAL, "out of memory");
        return NULL;
    }
    pcre2_set_callout(own->context, text_pattern_step, own);
    pcre2_set_heap_limit(own->context, 64 * 1024); /* KiB */
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);   /* without it, it is the interpreter */
    if (own->stack)
        pcre2_jit_stack_assign(own->context, NULL, own->stack);
    return own;
}

/* A new text: nothing is spent on it yet. */
static inline void text_pattern_begin(text_pattern *own) { own->spent = own->last = 0; }

/* Looks for the next match at or after `at`: 1, 0 or TEXT_GAVE_UP. `groups` gets start and end of the match, then of each
 * group (PCRE2_UNSET where it took no part); they live until the next search. */
static inline int text_pattern_find(text_pattern *own, keel_str s, size_t at, uint32_t options,
                                    const PCRE2_SIZE **groups) {
    PCRE2_SPTR text = (PCRE2_SPTR)(s.p ? s.p : "");
    own->last = at;
    int found = pcre2_match(own->code, text, s.n, at, options, own->data, own->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        own->last = at;
        found = pcre2_match(own->code, text, s.n, at, options | PCRE2_NO_JIT, own->data,
                            own->context);
    }
    *groups = pcre2_get_ovector_pointer(own->data);
    return found > 0 ? 1 : found == PCRE2_ERROR_NOMATCH ? 0 : TEXT_GAVE_UP;
}

/* How many groups the pattern has. */
static inline uint32_t text_pattern_groups(const text_pattern *own) {
    uint32_t count = 0;
    pcre2_pattern_info(own->code, PCRE2_INFO_CAPTURECOUNT, &count);
    return count;
}

#endif
