#include "worker.h"
#include <string.h>

/* The host writes rows as compact JSON text (KeelCore's JSON.text); a nested value's text is a part of its
 * parent's, so a pointer is followed by skipping, and nothing is parsed that nobody asks for. */

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

/* Behind the string that begins here with a quote. */
static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at < end ? at + 1 : end;
}

/* Behind the value that begins here. */
static const char *skip_value(const char *at, const char *end) {
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
            continue;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0)
                return at;
            depth--;
            at++;
        } else if (depth > 0) {
            at++;
            continue;
        } else {
            while (at < end && *at != ',' && *at != '}' && *at != ']' && *at != ' ')
                at++;
            return at;
        }
        if (depth == 0)
            return at;
    }
    return end;
}

static unsigned hex(const char *at) {
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char d = at[i];
        v = v * 16 + (unsigned)(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    return v;
}

/* The bytes of the string between two quotes; `out` has room for as many as the text is long. */
static size_t unquote(const char *at, const char *end, char *out) {
    size_t n = 0;
    while (at < end) {
        if (*at != '\\') {
            out[n++] = *at++;
            continue;
        }
        char what = at[1];
        at += 2;
        switch (what) {
        case 'n':
            out[n++] = '\n';
            break;
        case 'r':
            out[n++] = '\r';
            break;
        case 't':
            out[n++] = '\t';
            break;
        case 'b':
            out[n++] = '\b';
            break;
        case 'f':
            out[n++] = '\f';
            break;
        case 'u': {
            unsigned v = hex(at);
            at += 4;
            if (v < 0x80) {
                out[n++] = (char)v;
            } else if (v < 0x800) {
                out[n++] = (char)(0xC0 | v >> 6);
                out[n++] = (char)(0x80 | (v & 0x3F));
            } else {
                out[n++] = (char)(0xE0 | v >> 12);
                out[n++] = (char)(0x80 | (v >> 6 & 0x3F));
                out[n++] = (char)(0x80 | (v & 0x3F));
            }
            break;
        }
        default:
            out[n++] = what;
        }
    }
    return n;
}

/* The next part of a pointer, its ~1 and ~0 resolved; returns where the part after it begins. */
static const char *next_part(const char *at, char *out, size_t *n) {
    *n = 0;
    while (*at && *at != '/') {
        if (at[0] == '~' && (at[1] == '1' || at[1] == '0')) {
            out[(*n)++] = at[1] == '1' ? '/' : '~';
            at += 2;
        } else {
            out[(*n)++] = *at++;
        }
    }
    return at;
}

/* Whether the string that begins here is this key. */
static bool is_key(const char *at, const char *end, const char *key, size_t n, char *scratch) {
    size_t length = (size_t)(end - at) - 2;
    if (!memchr(at + 1, '\\', length))
        return length == n && memcmp(at + 1, key, n) == 0;
    return unquote(at + 1, end - 1, scratch) == n && memcmp(scratch, key, n) == 0;
}

/* An index as the host reads one: a sign is let pass, anything else must be digits. */
static bool is_index(const char *text, size_t n, size_t *index) {
    bool minus = n > 0 && text[0] == '-';
    size_t at = n > 0 && (text[0] == '-' || text[0] == '+');
    if (at == n)
        return false;
    *index = 0;
    for (; at < n; at++) {
        if (text[at] < '0' || text[at] > '9' || *index > SIZE_MAX / 100)
            return false;
        *index = *index * 10 + (size_t)(text[at] - '0');
    }
    return !minus || *index == 0;
}

keel_str row_field(call *c, keel_str json, const char *pointer) {
    const keel_str absent = {0, 0};
    if (!json.p)
        return absent;
    const char *at = skip_space(json.p), *end = json.p + json.n;
    char *scratch = 0, part[4096 + 1];
    while (*pointer) {
        size_t n;
        pointer = next_part(pointer + 1, part, &n);
        if (*at == '{') {
            if (!scratch)
                scratch = call_lend(c, json.n + 1);
            const char *value = 0;
            for (at = skip_space(at + 1); at < end && *at == '"';) {
                const char *behind = skip_string(at, end);
                bool found = is_key(at, behind, part, n, scratch);
                at = skip_space(skip_space(behind) + 1); /* the colon */
                if (found) {
                    value = at;
                    break;
                }
                at = skip_space(skip_value(at, end));
                if (*at == ',')
                    at = skip_space(at + 1);
            }
            if (!value)
                return absent;
            at = value;
        } else if (*at == '[') {
            size_t index;
            if (!is_index(part, n, &index))
                return absent;
            at = skip_space(at + 1);
            for (; index > 0 && at < end && *at != ']'; index--) {
                at = skip_space(skip_value(at, end));
                if (*at == ',')
                    at = skip_space(at + 1);
            }
            if (at >= end || *at == ']')
                return absent;
        } else {
            return absent;
        }
    }
    const char *behind = skip_value(at, end);
    keel_str value = {at, (size_t)(behind - at)};
    if (value.n == 4 && memcmp(at, "null", 4) == 0)
        return absent;
    char *copy = call_lend(c, value.n + 1);
    if (*at == '"') {
        value.n = unquote(at + 1, behind - 1, copy);
    } else {
        memcpy(copy, at, value.n);
    }
    copy[value.n] = 0;
    value.p = copy;
    return value;
}
