/* Numbers as people and models write them. Shared by the rewards that read numbers out of texts. */
#ifndef KEEL_TEXT_NUMBER_H
#define KEEL_TEXT_NUMBER_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static inline int text_is_digit(char c) { return c >= '0' && c <= '9'; }

static inline int text_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static inline char text_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* The number at the start of `p`: bytes it takes, 0 where there is none.
 *
 *     [+ - or the minus sign U+2212] digits, in groups of three (1,000,000) or plain, [.digits] [e[+-]digits]
 *
 * ".5" is a number, "5." is 5 and a full stop. What does not fit a double becomes infinite, which is no number. */
static inline size_t text_number(const char *p, size_t n, double *value) {
    char plain[64];
    size_t i = 0, k = 0;
    if (i < n && (p[i] == '+' || p[i] == '-')) {
        if (p[i] == '-')
            plain[k++] = '-';
        i++;
    } else if (n >= 3 && memcmp(p, "\xE2\x88\x92", 3) == 0) {
        plain[k++] = '-';
        i += 3;
    }
    size_t head = i, digits = 0;
    while (i < n && text_is_digit(p[i]) && k < sizeof plain - 8)
        plain[k++] = p[i++], digits++;
    if (digits > 0 && i - head <= 3) {
        while (i + 3 < n && p[i] == ',' && text_is_digit(p[i + 1]) && text_is_digit(p[i + 2]) &&
               text_is_digit(p[i + 3]) && (i + 4 == n || !text_is_digit(p[i + 4])) &&
               k < sizeof plain - 8) {
            memcpy(plain + k, p + i + 1, 3);
            k += 3, i += 4, digits += 3;
        }
    }
    if (i + 1 < n && p[i] == '.' && text_is_digit(p[i + 1])) {
        plain[k++] = '.';
        i++;
        /* Digits beyond the 40th of a fraction change nothing. */
        for (; i < n && text_is_digit(p[i]); i++, digits++)
            if (k < sizeof plain - 8)
                plain[k++] = p[i];
    }
    if (digits == 0 || (i < n && text_is_digit(p[i])))
        return 0;
    if (i < n && (p[i] == 'e' || p[i] == 'E')) {
        size_t j = i + 1, start = k;
        plain[k++] = 'e';
        if (j < n && (p[j] == '+' || p[j] == '-'))
            plain[k++] = p[j++];
        size_t from = j;
        while (j < n && text_is_digit(p[j]) && j - from < 4)
            plain[k++] = p[j++];
        if (j > from && (j == n || !text_is_digit(p[j])))
            i = j;
        else
            k = start;
    }
    plain[k] = 0;
    *value = strtod(plain, NULL);
    return *value - *value == 0 ? i : 0;
}

/* Whether a number may begin at p[i]: not inside a word, a number or a version such as 1.2.3. */
static inline int text_number_may_begin(const char *p, size_t i) {
    if (i == 0)
        return 1;
    char before = text_lower(p[i - 1]);
    int sign = p[i] == '-' || p[i] == '+';
    if (text_is_digit(before) || (before >= 'a' && before <= 'z') || before == '_')
        return 0;
    if (before == '.' && i >= 2 && text_is_digit(p[i - 2]))
        return 0;
    return !(sign && (before == ')' || before == ']'));
}

/* The first or the last number of a text. Returns 1 when there is one. "2-3" holds 2 and 3, "-3" is -3. */
static inline int text_find_number(const char *p, size_t n, int last, double *value) {
    int found = 0;
    for (size_t i = 0; i < n;) {
        double x;
        size_t length = 0;
        if (text_number_may_begin(p, i))
            length = text_number(p + i, n - i, &x);
        if (length == 0) {
            i++;
            continue;
        }
        *value = x;
        found = 1;
        if (!last)
            return 1;
        i += length;
    }
    return found;
}

/* The text without white space at either end. */
static inline void text_trim(const char **p, size_t *n) {
    while (*n > 0 && text_is_space((*p)[0]))
        (*p)++, (*n)--;
    while (*n > 0 && text_is_space((*p)[*n - 1]))
        (*n)--;
}

/* The next word of a list "a|b|c", without the white space around it; 0 at its end. */
static inline int text_next_word(const char **list, const char **word, size_t *n) {
    if (!*list)
        return 0;
    const char *end = strchr(*list, '|');
    *word = *list;
    *n = end ? (size_t)(end - *list) : strlen(*list);
    *list = end ? end + 1 : NULL;
    text_trim(word, n);
    return 1;
}

/* Whether the bytes are equal but for the case of ASCII letters. */
static inline int text_same(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (text_lower(a[i]) != text_lower(b[i]))
            return 0;
    return 1;
}

#endif
