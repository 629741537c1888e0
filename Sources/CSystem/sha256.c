#include "csystem.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

int32_t cs_sha256_is_fast(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sha") && __builtin_cpu_supports("sse4.1") ? 1 : 0;
}

/* Four rounds from the message words w; the constants of these rounds at k. */
#define ROUNDS(w)                                                                                  \
    do {                                                                                           \
        __m128i x = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)k));                         \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, x);                                               \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(x, 0x0e));                      \
        k += 4;                                                                                    \
    } while (0)

/* The four message words after a, b, c, d. */
#define NEXT(a, b, c, d)                                                                           \
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d)

/* The state as the instructions want it: a b c d, e f g h -> a b e f, c d g h. */
#define LOAD(state, abef, cdgh)                                                                    \
    do {                                                                                           \
        __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state)), 0xb1);          \
        __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)((state) + 4)), 0x1b);   \
        abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);             \
    } while (0)

#define STORE(state, abef, cdgh)                                                                   \
    do {                                                                                           \
        __m128i low = _mm_shuffle_epi32(abef, 0x1b), high = _mm_shuffle_epi32(cdgh, 0xb1);         \
        _mm_storeu_si128((__m128i *)(state), _mm_blend_epi16(low, high, 0xf0));                    \
        _mm_storeu_si128((__m128i *)((state) + 4), _mm_alignr_epi8(high, low, 8));                 \
    } while (0)

__attribute__((target("sha,sse4.1,ssse3"))) void
cs_sha256_blocks(uint32_t *state, const uint32_t *constants, const void *bytes, int64_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    __m128i abef, cdgh;
    LOAD(state, abef, cdgh);
    const char *at = (const char *)bytes;
    for (int64_t i = 0; i < blocks; i++, at += 64) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        const uint32_t *k = constants;
        __m128i a = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)at), swap);
        __m128i b = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 16)), swap);
        __m128i c = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 32)), swap);
        __m128i d = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 48)), swap);
        ROUNDS(a);
        ROUNDS(b);
        ROUNDS(c);
        ROUNDS(d);
        for (int round = 0; round < 3; round++) {
            a = NEXT(a, b, c, d);
            ROUNDS(a);
            b = NEXT(b, c, d, a);
            ROUNDS(b);
            c = NEXT(c, d, a, b);
            ROUNDS(c);
            d = NEXT(d, a, b, c);
            ROUNDS(d);
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    STORE(state, abef, cdgh);
}

/* Four rounds of two chains: each waits for itself most of the time, and the other fills the gap. */
#define ROUNDS2(w, v)                                                                              \
    do {                                                                                           \
        const __m128i four = _mm_loadu_si128((const __m128i *)k);                                  \
        __m128i x = _mm_add_epi32(w, four), y = _mm_add_epi32(v, four);                            \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, x);                                               \
        cdgh2 = _mm_sha256rnds2_epu32(cdgh2, abef2, y);                                            \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(x, 0x0e));                      \
        abef2 = _mm_sha256rnds2_epu32(abef2, cdgh2, _mm_shuffle_epi32(y, 0x0e));                   \
        k += 4;                                                                                    \
    } while (0)

__attribute__((target("sha,sse4.1,ssse3"))) void
cs_sha256_blocks2(uint32_t *state, uint32_t *state2, const uint32_t *constants, const void *bytes,
                  const void *bytes2, int64_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    __m128i abef, cdgh, abef2, cdgh2;
    LOAD(state, abef, cdgh);
    LOAD(state2, abef2, cdgh2);
    for (int64_t i = 0; i < blocks; i++) {
        const __m128i *at = (const __m128i *)bytes + 4 * i, *at2 = (const __m128i *)bytes2 + 4 * i;
        const __m128i abef0 = abef, cdgh0 = cdgh, abef20 = abef2, cdgh20 = cdgh2;
        const uint32_t *k = constants;
        __m128i m[4], n[4];
        for (int part = 0; part < 4; part++) {
            m[part] = _mm_shuffle_epi8(_mm_loadu_si128(at + part), swap);
            n[part] = _mm_shuffle_epi8(_mm_loadu_si128(at2 + part), swap);
            ROUNDS2(m[part], n[part]);
        }
        for (int round = 0; round < 3; round++)
            for (int part = 0; part < 4; part++) {
                m[part] = NEXT(m[part], m[(part + 1) & 3], m[(part + 2) & 3], m[(part + 3) & 3]);
                n[part] = NEXT(n[part], n[(part + 1) & 3], n[(part + 2) & 3], n[(part + 3) & 3]);
                ROUNDS2(m[part], n[part]);
            }
        abef = _mm_add_epi32(abef, abef0), cdgh = _mm_add_epi32(cdgh, cdgh0);
        abef2 = _mm_add_epi32(abef2, abef20), cdgh2 = _mm_add_epi32(cdgh2, cdgh20);
    }
    STORE(state, abef, cdgh);
    STORE(state2, abef2, cdgh2);
}
#else
int32_t cs_sha256_is_fast(void) { return 0; }
void cs_sha256_blocks(uint32_t *state, const uint32_t *constants, const void *bytes,
                      int64_t blocks) {
    (void)state, (void)constants, (void)bytes, (void)blocks;
}
void cs_sha256_blocks2(uint32_t *state, uint32_t *state2, const uint32_t *constants,
                       const void *bytes, const void *bytes2, int64_t blocks) {
    (void)state, (void)state2, (void)constants, (void)bytes, (void)bytes2, (void)blocks;
}
#endif
