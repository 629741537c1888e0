#include "worker.h"
#include <stdlib.h>
#include <string.h>

void *allocate(size_t n) {
    void *start = malloc(n ? n : 1);
    if (!start) {
        static const char text[] = "keel-worker: out of memory\n";
        (void)!write(2, text, sizeof text - 1);
        _exit(71);
    }
    return start;
}

/* Both ends come from one build: a stream that ends early is a mistake of ours. */
static void need(const reader *r, size_t n) {
    if ((size_t)(r->end - r->at) < n) {
        static const char text[] = "keel-worker: a request ends early\n";
        (void)!write(2, text, sizeof text - 1);
        _exit(70);
    }
}

uint64_t read_u64(reader *r) {
    uint64_t v;
    need(r, 8);
    memcpy(&v, r->at, 8);
    r->at += 8;
    return v;
}

double read_f64(reader *r) {
    double v;
    need(r, 8);
    memcpy(&v, r->at, 8);
    r->at += 8;
    return v;
}

const void *read_bytes(reader *r, size_t n) {
    size_t padded = n > SIZE_MAX - 7 ? SIZE_MAX : (n + 7) & ~(size_t)7;
    need(r, padded);
    const void *start = r->at;
    r->at += padded;
    return start;
}

void read_align(reader *r, size_t alignment, const void *base) {
    size_t off = (size_t)(r->at - (const unsigned char *)base) % alignment;
    if (off) {
        need(r, alignment - off);
        r->at += alignment - off;
    }
}

keel_str read_text(reader *r) {
    uint64_t n = read_u64(r);
    keel_str text = {0, 0};
    if (n == KW_ABSENT)
        return text;
    text.n = (size_t)n;
    text.p = read_bytes(r, text.n + 1);
    return text;
}

void put_bytes(buffer *b, const void *bytes, size_t n) {
    if (b->capacity - b->n < n) {
        size_t capacity = b->capacity ? b->capacity : 256;
        while (capacity - b->n < n)
            capacity *= 2;
        unsigned char *start = allocate(capacity);
        if (b->n)
            memcpy(start, b->start, b->n);
        free(b->start);
        b->start = start;
        b->capacity = capacity;
    }
    if (n)
        memcpy(b->start + b->n, bytes, n);
    b->n += n;
}

void put_u64(buffer *b, uint64_t v) { put_bytes(b, &v, 8); }

void put_f64(buffer *b, double v) { put_bytes(b, &v, 8); }

void put_pad(buffer *b) {
    static const unsigned char zeros[8] = {0};
    put_bytes(b, zeros, (8 - b->n % 8) % 8);
}

void put_text(buffer *b, keel_str text) {
    if (!text.p) {
        put_u64(b, KW_ABSENT);
        return;
    }
    put_u64(b, text.n);
    put_bytes(b, text.p, text.n);
    put_bytes(b, "", 1);
    put_pad(b);
}
