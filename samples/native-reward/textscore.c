/* Scores of a text, as any program might have them: this file knows nothing of Keel. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Whether a word of `n` letters stands in the text, not inside of another word. */
static bool holds(const char *text, const char *word, size_t n) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (const char *p = text; *p != 0;) {
        size_t length = strspn(p, letters);
        if (length == n && memcmp(p, word, n) == 0)
            return true;
        p += length > 0 ? length : 1;
    }
    return false;
}

/* The share of the words in a JSON list, ["pruning", "winter"], that the text has, but at most `enough` of them count. */
double keyword_share(const char *text, const char *list, int enough) {
    int words = 0, found = 0;
    for (const char *p = strchr(list, '"'); p != NULL; p = strchr(p, '"')) {
        const char *end = strchr(++p, '"');
        if (end == NULL)
            break;
        words++;
        found += holds(text, p, (size_t)(end - p));
        p = end + 1;
    }
    int wanted = words < enough ? words : enough;
    return wanted == 0 ? 0 : found < wanted ? (double)found / wanted : 1;
}

/* Whether the text ends a sentence. */
bool ends_well(const char *text, size_t length) {
    while (length > 0 && (unsigned char)text[length - 1] <= ' ')
        length--;
    return length > 0 && strchr(".!?", text[length - 1]) != NULL;
}
