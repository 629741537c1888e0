/* Helpers of the kernels that are written for AVX-512 by name. */
#ifndef CK_LANES_H
#define CK_LANES_H

#include <immintrin.h>
#include <stdint.h>

#define CK_TARGET_BF16                                                                             \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")))
#define CK_INLINE_BF16 static inline __attribute__((always_inline)) CK_TARGET_BF16

/* A mask of the first n lanes. */
CK_INLINE_BF16 __mmask16 ck_first(int64_t n) {
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* to[p apart ...] (16 lanes) = column p of 16 rows of 32-bit cells, for `steps` <= 16 columns; the rows are `stride`
 * bytes apart and have `bytes` bytes, those from `rows` on are 0. */
CK_INLINE_BF16 void ck_transpose16(uint32_t *to, int64_t apart, const char *w, int64_t stride,
                                   int64_t rows, int64_t bytes, int64_t steps) {
    __m512i r[16], t[16];
    const __mmask64 mask = bytes >= 64 ? ~0ull : (1ull << bytes) - 1;
    for (int i = 0; i < 16; i++) {
        if (i < rows) {
            r[i] = _mm512_maskz_loadu_epi8(mask, w + i * stride);
            _mm_prefetch(w + (i + 16) * stride, _MM_HINT_T0);
        } else {
            r[i] = _mm512_setzero_si512();
        }
    }
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
    for (int i = 0; i < 16; i++)
        if (i < steps)
            _mm512_storeu_si512(to + i * apart, r[i]);
}

/* Cells of a step of k as the low halves, those of the next step as the high halves (no row: 0). */
CK_INLINE_BF16 __m512i ck_pair(const uint16_t *low, const uint16_t *high, __mmask16 m) {
    __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, low));
    if (!high)
        return a;
    __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, high));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

#endif
