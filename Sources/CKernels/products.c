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
#include "bodies/lanes.h"

#define TARGET CK_TARGET_BF16

int32_t ck_has_products(int32_t isa, int32_t type) {
    /* With AMX, oneDNN's products of bf16 are several times as fast. */
    __builtin_cpu_init();
    return (type == CK_F32 && isa >= CK_AVX512) ||
           (type == CK_BF16 && isa >= CK_AVX512_BF16 && !__builtin_cpu_supports("amx-bf16"));
}

/* Rows of b are columns of the product: [n][k], k dense. */
static TARGET void pack_transposed(uint32_t *to, const char *b, int64_t stride, int64_t n,
                                   int64_t k, int64_t size) {
    const int64_t steps = (k * size + 3) / 4;
    for (int64_t j = 0; j < PANEL; j += 16)
        for (int64_t p = 0; p < steps; p += 16)
            ck_transpose16(to + p * PANEL + j, PANEL, b + j * stride + 4 * p, stride, n - j,
                           k * size - 4 * p, steps - p);
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
                const __mmask16 m = ck_first(lanes - column);
                uint32_t *cells = to + panel * apart + p / per * PANEL + j;
                const char *next = p + 1 < k ? at + stride : NULL;
                const __m512i x = per == 1
                                      ? _mm512_maskz_loadu_epi32(m, at)
                                      : ck_pair((const uint16_t *)at, (const uint16_t *)next, m);
                _mm_prefetch(at + 4 * stride, _MM_HINT_T0);
                if (per == 2)
                    _mm_prefetch(at + 5 * stride, _MM_HINT_T0);
                _mm512_storeu_si512(cells, x);
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

/* What becomes of a tile. */
enum {
    STORE_F32 = 0,
    EXTEND_F32 = 1, /* the chains begin with what is there */
    STORE_BF16 = 2,
    ADD_F32 =
        3, /* the sums are added to what is there, which has the time of the loop to come from memory */
};

/* 16 cells of what is added to a tile, of the tile's type. */
CK_INLINE_BF16 __m512 addend(const void *d, int64_t at, __mmask16 m, int32_t mode) {
    if (mode != STORE_BF16)
        return _mm512_maskz_loadu_ps(m, (const float *)d + at);
    const __m256i half = _mm256_maskz_loadu_epi16(m, (const uint16_t *)d + at);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}

/* c (ROWS, 64) = or += a b, plus those of the ADDS addends that are there; step p of row r of a at a[r rs + p cs].
 * Where the loops begin was chosen by micro benchmarks on a busy Zen 5: differences of 0.3 to 2 %, near the noise. */
#define KERNEL(NAME, BF16, ROWS, ADDS)                                                             \
    static __attribute__((noinline)) TARGET void NAME(                                             \
        const uint32_t *a, int64_t rs, int64_t cs, const uint32_t *b, int64_t steps, void *c,      \
        int64_t ldc, int32_t mode, int64_t n, const void *const *d) {                              \
        __m512 s[ROWS][4];                                                                         \
        for (int r = 0; r < ROWS; r++)                                                             \
            for (int v = 0; v < 4; v++)                                                            \
                s[r][v] = mode == EXTEND_F32                                                       \
                              ? _mm512_maskz_loadu_ps(ck_first(n - 16 * v),                        \
                                                      (float *)c + r * ldc + 16 * v)               \
                              : _mm512_setzero_ps();                                               \
        if (mode == ADD_F32)                                                                       \
            for (int r = 0; r < ROWS; r++)                                                         \
                for (int v = 0; v < 4; v++)                                                        \
                    _mm_prefetch((char *)((float *)c + r * ldc + 16 * v), _MM_HINT_T0);            \
        for (int i = 0; i < ADDS; i++)                                                             \
            if (d[i])                                                                              \
                for (int r = 0; r < ROWS; r++)                                                     \
                    for (int v = 0; v < 4; v++)                                                    \
                        _mm_prefetch((const char *)d[i] +                                          \
                                         (r * ldc + 16 * v) * (mode == STORE_BF16 ? 2 : 4),        \
                                     _MM_HINT_T0);                                                 \
        [[clang::code_align(ADDS ? 16 : 64)]] for (int64_t p = 0; p < steps; p++) {                \
            __m512 x[4];                                                                           \
            for (int v = 0; v < 4; v++)                                                            \
                x[v] = _mm512_loadu_ps(b + p * PANEL + 16 * v);                                    \
            for (int r = 0; r < ROWS; r++) {                                                       \
                uint32_t cell;                                                                     \
                memcpy(&cell, a + r * rs + p * cs, 4);                                             \
                __m512 y = (__m512)_mm512_set1_epi32((int)cell);                                   \
                for (int v = 0; v < 4; v++)                                                        \
                    s[r][v] = BF16 ? _mm512_dpbf16_ps(s[r][v], (__m512bh)y, (__m512bh)x[v])        \
                                   : _mm512_fmadd_ps(y, x[v], s[r][v]);                            \
            }                                                                                      \
        }                                                                                          \
        for (int i = 0; i < ADDS; i++)                                                             \
            if (d[i])                                                                              \
                for (int r = 0; r < ROWS; r++)                                                     \
                    for (int v = 0; v < 4; v++)                                                    \
                        s[r][v] = _mm512_add_ps(                                                   \
                            s[r][v], addend(d[i], r * ldc + 16 * v, ck_first(n - 16 * v), mode));  \
        for (int r = 0; r < ROWS; r++)                                                             \
            for (int v = 0; v < 4; v++) {                                                          \
                __mmask16 m = ck_first(n - 16 * v);                                                \
                if (mode == ADD_F32)                                                               \
                    s[r][v] = _mm512_add_ps(                                                       \
                        s[r][v], _mm512_maskz_loadu_ps(m, (float *)c + r * ldc + 16 * v));         \
                if (mode == STORE_BF16)                                                            \
                    _mm256_mask_storeu_epi16((uint16_t *)c + r * ldc + 16 * v, m,                  \
                                             (__m256i)_mm512_cvtneps_pbh(s[r][v]));                \
                else                                                                               \
                    _mm512_mask_storeu_ps((float *)c + r * ldc + 16 * v, m, s[r][v]);              \
            }                                                                                      \
    }

KERNEL(f32_1, 0, 1, 0)
KERNEL(f32_2, 0, 2, 0)
KERNEL(f32_3, 0, 3, 0)
KERNEL(f32_4, 0, 4, 0)
KERNEL(f32_5, 0, 5, 0)
KERNEL(f32_6, 0, 6, 0)
KERNEL(bf16_1, 1, 1, 0)
KERNEL(bf16_2, 1, 2, 0)
KERNEL(bf16_3, 1, 3, 0)
KERNEL(bf16_4, 1, 4, 0)
KERNEL(bf16_5, 1, 5, 0)
KERNEL(bf16_6, 1, 6, 0)
KERNEL(f32_1_adding, 0, 1, CK_ADDENDS)
KERNEL(f32_2_adding, 0, 2, CK_ADDENDS)
KERNEL(f32_3_adding, 0, 3, CK_ADDENDS)
KERNEL(f32_4_adding, 0, 4, CK_ADDENDS)
KERNEL(f32_5_adding, 0, 5, CK_ADDENDS)
KERNEL(f32_6_adding, 0, 6, CK_ADDENDS)
KERNEL(bf16_1_adding, 1, 1, CK_ADDENDS)
KERNEL(bf16_2_adding, 1, 2, CK_ADDENDS)
KERNEL(bf16_3_adding, 1, 3, CK_ADDENDS)
KERNEL(bf16_4_adding, 1, 4, CK_ADDENDS)
KERNEL(bf16_5_adding, 1, 5, CK_ADDENDS)
KERNEL(bf16_6_adding, 1, 6, CK_ADDENDS)

typedef void kernel(const uint32_t *, int64_t, int64_t, const uint32_t *, int64_t, void *, int64_t,
                    int32_t, int64_t, const void *const *);
enum { HIGHEST = 6 };
#define HEIGHTS(TYPE, END)                                                                         \
    { TYPE##_1##END, TYPE##_2##END, TYPE##_3##END, TYPE##_4##END, TYPE##_5##END, TYPE##_6##END }
static kernel *const kernels[2][HIGHEST] = {HEIGHTS(f32, ), HEIGHTS(bf16, )};
static kernel *const adding[2][HIGHEST] = {HEIGHTS(f32, _adding), HEIGHTS(bf16, _adding)};

/* Rows of the next tile when so many are left: as high as can be, and none much lower than the others. */
static int64_t next_height(int64_t left) {
    const int64_t tiles = (left + HIGHEST - 1) / HIGHEST;
    return (left + tiles - 1) / tiles;
}

void ck_packed_product(void *c, int64_t ldc, int32_t c_type, const void *a, int64_t lda,
                       const void *packed, int64_t m, int64_t n, int64_t k, int64_t begin,
                       int64_t end, int32_t type, int32_t accumulate,
                       const void *const addends[CK_ADDENDS]) {
    const int64_t c_size = c_type == CK_BF16 ? 2 : 4;
    const int64_t steps = ck_packed_bytes(PANEL, k, type) / (4 * PANEL);
    const int64_t rs = type == CK_BF16 ? lda / 2 : lda; /* in 32-bit cells */
    const int32_t mode = c_type == CK_BF16 ? STORE_BF16 : accumulate ? EXTEND_F32 : STORE_F32;
    kernel *const *kernel_of = (addends[0] || addends[1] ? adding : kernels)[type == CK_BF16];
    for (int64_t j = begin; j < end; j++) {
        const uint32_t *b = (const uint32_t *)packed + j * PANEL * steps;
        const int64_t left = n - j * PANEL < PANEL ? n - j * PANEL : PANEL;
        for (int64_t i = 0, rows; i < m; i += rows) {
            rows = next_height(m - i);
            const int64_t at = (i * ldc + j * PANEL) * c_size;
            const void *d[CK_ADDENDS];
            for (int s = 0; s < CK_ADDENDS; s++)
                d[s] = addends[s] ? (const char *)addends[s] + at : NULL;
            kernel_of[rows - 1]((const uint32_t *)a + i * rs, rs, 1, b, steps, (char *)c + at, ldc,
                                mode, left, d);
        }
    }
}

/* Columns of a left factor that stand side by side: a cache line of every step. */
enum { GROUP = 16 };
/* Steps of k that a panel of the right factor and a group of the left one stay in the first cache for. */
enum { STRETCH = 128 };

TARGET void ck_pack_left(void *to, const uint16_t *a, int64_t stride, int64_t m, int64_t k,
                         int64_t begin, int64_t end) {
    const int64_t steps = (k + 1) / 2;
    for (int64_t p = 0; p < k; p += 2)
        for (int64_t group = begin; group < end; group++) {
            const uint16_t *at = a + p * stride + group * GROUP;
            const uint16_t *next = p + 1 < k ? at + stride : NULL;
            _mm_prefetch(at + 4 * stride, _MM_HINT_T0);
            _mm_prefetch(at + 5 * stride, _MM_HINT_T0);
            _mm512_storeu_si512((uint32_t *)to + (group * steps + p / 2) * GROUP,
                                ck_pair(at, next, ck_first(m - group * GROUP)));
        }
}

TARGET void ck_packed_gradient(float *c, int64_t ldc, const void *a, const void *b, int64_t m,
                               int64_t n, int64_t k, const int64_t groups[2],
                               const int64_t panels[2]) {
    const int64_t steps = (k + 1) / 2;
    for (int64_t p = 0; p < steps; p += STRETCH) {
        const int64_t some = steps - p < STRETCH ? steps - p : STRETCH;
        for (int64_t j = panels[0]; j < panels[1]; j++) {
            const uint32_t *right = (const uint32_t *)b + (j * steps + p) * PANEL;
            const int64_t left = n - j * PANEL < PANEL ? n - j * PANEL : PANEL;
            for (int64_t group = groups[0]; group < groups[1]; group++) {
                const uint32_t *rows = (const uint32_t *)a + (group * steps + p) * GROUP;
                const int64_t count = m - group * GROUP < GROUP ? m - group * GROUP : GROUP;
                float *to = c + group * GROUP * ldc + j * PANEL;
                for (int64_t i = 0, height; i < count; i += height) {
                    height = next_height(count - i);
                    kernels[1][height - 1](rows + i, 1, GROUP, right, some, to + i * ldc, ldc,
                                           ADD_F32, left, NULL);
                }
            }
        }
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
                       int64_t end, int32_t type, int32_t accumulate,
                       const void *const addends[CK_ADDENDS]) {
    (void)c, (void)ldc, (void)c_type, (void)a, (void)lda, (void)packed, (void)m, (void)n, (void)k;
    (void)begin, (void)end, (void)type, (void)accumulate, (void)addends;
}
void ck_pack_left(void *to, const uint16_t *a, int64_t stride, int64_t m, int64_t k, int64_t begin,
                  int64_t end) {
    (void)to, (void)a, (void)stride, (void)m, (void)k, (void)begin, (void)end;
}
void ck_packed_gradient(float *c, int64_t ldc, const void *a, const void *b, int64_t m, int64_t n,
                        int64_t k, const int64_t groups[2], const int64_t panels[2]) {
    (void)c, (void)ldc, (void)a, (void)b, (void)m, (void)n, (void)k, (void)groups, (void)panels;
}
#endif
