/* Matrix products on packed operands, for processors with AVX-512: f32 by FMA, bf16 by its pairwise dot product.
 *
 * The right operand stands in panels of 64 columns, a step of k after the other, so that a product reads it as
 * one stream; bf16 cells go in pairs of k. A cell of the result is one chain of fused multiply-adds over k in
 * order: its bits depend neither on the other rows and columns nor on how many there are. */
#include "ckernels.h"

#include <string.h>

enum { PANEL = CK_PANEL };

int64_t ck_packed_bytes(int64_t n, int64_t k, int32_t type) {
    int64_t steps = type == CK_BF16 ? (k + 1) / 2 : k;
    return (n + PANEL - 1) / PANEL * PANEL * steps * 4;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

int32_t ck_has_products(int32_t isa, int32_t type) {
    if (isa < CK_AVX512)
        return 0;
    __builtin_cpu_init();
    /* With AMX, oneDNN's products of bf16 are several times as fast. */
    return type == CK_F32 || (type == CK_BF16 && __builtin_cpu_supports("avx512bf16") &&
                              !__builtin_cpu_supports("amx-bf16"));
}

INLINE __mmask16 first(int64_t n) {
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* to[p PANEL ...] (16 lanes) = column p of 16 rows of 32-bit cells, for `steps` <= 16 columns. */
INLINE void transpose16(uint32_t *to, const char *w, int64_t stride, int64_t rows, int64_t bytes,
                        int64_t steps) {
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
            _mm512_storeu_si512(to + i * PANEL, r[i]);
}

/* Rows of b are columns of the product: [n][k], k dense. */
static TARGET void pack_transposed(uint32_t *to, const char *b, int64_t stride, int64_t n,
                                   int64_t k, int64_t size) {
    const int64_t steps = (k * size + 3) / 4;
    for (int64_t j = 0; j < PANEL; j += 16)
        for (int64_t p = 0; p < steps; p += 16)
            transpose16(to + p * PANEL + j, b + j * stride + 4 * p, stride, n - j, k * size - 4 * p,
                        steps - p);
}

/* Rows of b are steps of k: [k][n], n dense; `apart` cells from one panel to the next. */
static TARGET void pack_rows(uint32_t *to, int64_t apart, int64_t panels, const char *b,
                             int64_t stride, int64_t lanes, int64_t k, int32_t type) {
    const int64_t per = type == CK_F32 ? 1 : 2, size = type == CK_F32 ? 4 : 2;
    for (int64_t p = 0; p < k; p += per)
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t j = 0; j < PANEL; j += 16) {
                const int64_t column = panel * PANEL + j;
                const char *at = b + p * stride + size * column;
                const __mmask16 m = first(lanes - column);
                uint32_t *cells = to + panel * apart + p / per * PANEL + j;
                __m512i low, high = _mm512_setzero_si512();
                if (per == 1) {
                    low = _mm512_maskz_loadu_epi32(m, at);
                } else {
                    low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, at));
                    if (p + 1 < k)
                        high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, at + stride));
                }
                _mm_prefetch(at + 4 * stride, _MM_HINT_T0);
                if (per == 2)
                    _mm_prefetch(at + 5 * stride, _MM_HINT_T0);
                _mm512_storeu_si512(cells, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
}

TARGET void ck_pack(void *to, const void *b, int64_t stride, int32_t transposed, int64_t n,
                    int64_t k, int64_t begin, int64_t end, int32_t type) {
    const int64_t size = type == CK_BF16 ? 2 : 4;
    const int64_t panel = ck_packed_bytes(PANEL, k, type);
    if (!transposed) {
        pack_rows((uint32_t *)((char *)to + begin * panel), panel / 4, end - begin,
                  (const char *)b + begin * PANEL * size, stride * size, n - begin * PANEL, k,
                  type);
        return;
    }
    for (int64_t j = begin; j < end; j++)
        pack_transposed((uint32_t *)((char *)to + j * panel),
                        (const char *)b + j * PANEL * stride * size, stride * size, n - j * PANEL,
                        k, size);
}

/* c (ROWS, 64) = or += a b; steps of row r of a from a[r rs] on; `mode` 0: store f32, 1: add to f32, 2: store bf16 */
#define KERNEL(NAME, BF16, ROWS)                                                                   \
    static __attribute__((noinline)) TARGET void NAME(const uint32_t *a, int64_t rs,               \
                                                      const uint32_t *b, int64_t steps, void *c,   \
                                                      int64_t ldc, int32_t mode, int64_t n) {      \
        __m512 s[ROWS][4];                                                                         \
        for (int r = 0; r < ROWS; r++)                                                             \
            for (int v = 0; v < 4; v++)                                                            \
                s[r][v] = mode == 1 ? _mm512_maskz_loadu_ps(first(n - 16 * v),                     \
                                                            (float *)c + r * ldc + 16 * v)         \
                                    : _mm512_setzero_ps();                                         \
        for (int64_t p = 0; p < steps; p++) {                                                      \
            __m512 x[4];                                                                           \
            for (int v = 0; v < 4; v++)                                                            \
                x[v] = _mm512_loadu_ps(b + p * PANEL + 16 * v);                                    \
            for (int r = 0; r < ROWS; r++) {                                                       \
                uint32_t cell;                                                                     \
                memcpy(&cell, a + r * rs + p, 4);                                                  \
                __m512 y = (__m512)_mm512_set1_epi32((int)cell);                                   \
                for (int v = 0; v < 4; v++)                                                        \
                    s[r][v] = BF16 ? _mm512_dpbf16_ps(s[r][v], (__m512bh)y, (__m512bh)x[v])        \
                                   : _mm512_fmadd_ps(y, x[v], s[r][v]);                            \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < ROWS; r++)                                                             \
            for (int v = 0; v < 4; v++) {                                                          \
                __mmask16 m = first(n - 16 * v);                                                   \
                if (mode == 2)                                                                     \
                    _mm256_mask_storeu_epi16((uint16_t *)c + r * ldc + 16 * v, m,                  \
                                             (__m256i)_mm512_cvtneps_pbh(s[r][v]));                \
                else                                                                               \
                    _mm512_mask_storeu_ps((float *)c + r * ldc + 16 * v, m, s[r][v]);              \
            }                                                                                      \
    }

KERNEL(f32_6, 0, 6)
KERNEL(f32_4, 0, 4)
KERNEL(f32_2, 0, 2)
KERNEL(f32_1, 0, 1)
KERNEL(bf16_6, 1, 6)
KERNEL(bf16_4, 1, 4)
KERNEL(bf16_2, 1, 2)
KERNEL(bf16_1, 1, 1)

typedef void kernel(const uint32_t *, int64_t, const uint32_t *, int64_t, void *, int64_t, int32_t,
                    int64_t);
static kernel *const kernels[2][4] = {{f32_6, f32_4, f32_2, f32_1},
                                      {bf16_6, bf16_4, bf16_2, bf16_1}};

void ck_packed_product(void *c, int64_t ldc, int32_t c_type, const void *a, int64_t lda,
                       const void *packed, int64_t m, int64_t n, int64_t k, int64_t begin,
                       int64_t end, int32_t type, int32_t accumulate) {
    static const int64_t height[4] = {6, 4, 2, 1};
    const int64_t c_size = c_type == CK_BF16 ? 2 : 4;
    const int64_t steps = ck_packed_bytes(PANEL, k, type) / (4 * PANEL);
    const int64_t rs = type == CK_BF16 ? lda / 2 : lda; /* in 32-bit cells */
    const int32_t mode = c_type == CK_BF16 ? 2 : accumulate;
    kernel *const *kernel_of = kernels[type == CK_BF16];
    for (int64_t j = begin; j < end; j++) {
        const uint32_t *b = (const uint32_t *)packed + j * PANEL * steps;
        const int64_t left = n - j * PANEL < PANEL ? n - j * PANEL : PANEL;
        int64_t i = 0;
        for (int h = 0; h < 4; h++)
            for (; i + height[h] <= m; i += height[h])
                kernel_of[h]((const uint32_t *)a + i * rs, rs, b, steps,
                             (char *)c + (i * ldc + j * PANEL) * c_size, ldc, mode, left);
    }
}
#else
int32_t ck_has_products(int32_t isa, int32_t type) {
    (void)isa, (void)type;
    return 0;
}
void ck_pack(void *to, const void *b, int64_t stride, int32_t transposed, int64_t n, int64_t k,
             int64_t begin, int64_t end, int32_t type) {
    (void)to, (void)b, (void)stride, (void)transposed, (void)n, (void)k, (void)begin, (void)end;
    (void)type;
}
void ck_packed_product(void *c, int64_t ldc, int32_t c_type, const void *a, int64_t lda,
                       const void *packed, int64_t m, int64_t n, int64_t k, int64_t begin,
                       int64_t end, int32_t type, int32_t accumulate) {
    (void)c, (void)ldc, (void)c_type, (void)a, (void)lda, (void)packed, (void)m, (void)n, (void)k;
    (void)begin, (void)end, (void)type, (void)accumulate;
}
#endif
