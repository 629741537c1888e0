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

__attribute__((target("sha,sse4.1,ssse3"))) void
cs_sha256_blocks(uint32_t *state, const uint32_t *constants, const void *bytes, int64_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    /* a b c d, e f g h -> the order that the instructions want */
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
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
    low = _mm_shuffle_epi32(abef, 0x1b);
    high = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}
#else
int32_t cs_sha256_is_fast(void) { return 0; }
void cs_sha256_blocks(uint32_t *state, const uint32_t *constants, const void *bytes,
                      int64_t blocks) {
    (void)state, (void)constants, (void)bytes, (void)blocks;
}
#endif
