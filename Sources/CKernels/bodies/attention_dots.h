/* Attention on dot products of bf16 pairs: what attention.h does, with the same blocks and the same order of keys.
 *
 * Scores and their gradients are products of bf16 cells and lose nothing. Probabilities p and ds, which multiply V, dO,
 * K and Q, are rounded to bf16 first: each is off by 2^-9 of itself at most, with either sign, so that a result is off by
 * about as much as by its own rounding. Sums of p, and so log-sum-exp, take them unrounded.
 *
 * Pairs lie in 32-bit cells, the even one in the low half. Left factors are read row by row where their pairs lie side
 * by side; right factors stand as [pair][lanes]. */

/* One tile of FN(dots). */
#define DOT_TILE(rows_, vecs_)                                                                     \
    do {                                                                                           \
        __m512 s[rows_][vecs_];                                                                    \
        const uint32_t *row[rows_];                                                                \
        for (int r = 0; r < rows_; r++) {                                                          \
            row[r] = a[i + r];                                                                     \
            for (int w = 0; w < vecs_; w++)                                                        \
                s[r][w] = _mm512_setzero_ps();                                                     \
        }                                                                                          \
        for (int64_t p = 0; p < k; p++) {                                                          \
            __m512bh x[vecs_];                                                                     \
            for (int w = 0; w < vecs_; w++)                                                        \
                x[w] = (__m512bh)_mm512_loadu_si512(b + p * ldb + (j + w) * LANES);                \
            for (int r = 0; r < rows_; r++) {                                                      \
                uint32_t cell;                                                                     \
                memcpy(&cell, row[r] + p * apart, 4);                                              \
                const __m512bh y = (__m512bh)_mm512_set1_epi32((int)cell);                         \
                for (int w = 0; w < vecs_; w++)                                                    \
                    s[r][w] = _mm512_dpbf16_ps(s[r][w], y, x[w]);                                  \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < rows_; r++) {                                                          \
            float *to = c + (i + r) * ldc + j * LANES;                                             \
            const __m512 old = _mm512_set1_ps(keep ? keep[i + r] : 1);                             \
            for (int w = 0; w < vecs_; w++) {                                                      \
                const __mmask16 m = ck_first(cols - (j + w) * LANES);                              \
                if (add)                                                                           \
                    s[r][w] = _mm512_fmadd_ps(old, _mm512_maskz_loadu_ps(m, to + w * LANES),       \
                                              s[r][w]);                                            \
                _mm512_mask_storeu_ps(to + w * LANES, m, s[r][w]);                                 \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#define DOT_ROWS(most, vecs_)                                                                      \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; i + most <= m; i += most)                                                           \
            DOT_TILE(most, vecs_);                                                                 \
        for (; i + 4 <= m; i += 4)                                                                 \
            DOT_TILE(4, vecs_);                                                                    \
        for (; i + 3 <= m; i += 3)                                                                 \
            DOT_TILE(3, vecs_);                                                                    \
        for (; i < m; i++)                                                                         \
            DOT_TILE(1, vecs_);                                                                    \
    } while (0)

/* c (m, cols) = a b over k pairs; `add`: c = c keep + a b, c + a b where `keep` is null.
 *
 * Row i of a begins at a[i], its pairs lie `apart` cells apart. A cell is one chain over the pairs in order. */
static __attribute__((noinline)) void FN(dots)(float *c, int64_t ldc, int64_t cols,
                                               const uint32_t *const *a, int64_t apart,
                                               const uint32_t *b, int64_t ldb, int64_t m, int64_t k,
                                               int add, const float *keep) {
    const int64_t n = (cols + LANES - 1) / LANES;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4)
        DOT_ROWS(6, 4);
    switch (n - j) {
    case 3:
        DOT_ROWS(8, 3);
        break;
    case 2:
        DOT_ROWS(8, 2);
        break;
    case 1:
        DOT_ROWS(8, 1);
        break;
    }
}

/* Where the left factors of FN(dots) begin: `to` of `first`, `first` + apart, ... */
INLINE void FN(rows_at)(const uint32_t **to, const void *first, int64_t bytes, int64_t rows) {
    for (int64_t i = 0; i < rows; i++)
        to[i] = (const uint32_t *)((const char *)first + i * bytes);
}

/* to[pair of cells][query]: the transpose of `rows` rows; 0 up to the next multiple of LANES. */
INLINE void FN(pack_pairs_t)(uint32_t *to, const T *x, int64_t stride, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r += LANES)
        for (int64_t p = 0; p < dim / 2; p += LANES)
            ck_transpose16(to + p * CK_QUERY_BLOCK + r, CK_QUERY_BLOCK,
                           (const char *)(x + r * stride + 2 * p), stride * 2, rows - r,
                           2 * dim - 4 * p, dim / 2 - p);
}

/* to[pair of rows][0 ..< wide]: rows x[0], x[1], ...; 0 beyond dim and in place of the row after an odd last one. */
INLINE void FN(pack_pairs)(uint32_t *to, int64_t wide, const uint32_t *const *x, int64_t rows,
                           int64_t dim) {
    for (int64_t r = 0; r < rows; r += 2)
        EACH(i, wide) {
            const uint16_t *low = (const uint16_t *)x[r] + i;
            const uint16_t *high = r + 1 < rows ? (const uint16_t *)x[r + 1] + i : 0;
            _mm512_storeu_si512(to + r / 2 * wide + i, ck_pair(low, high, ck_first(dim - i)));
        }
}

/* The cells of two keys, side by side for each query. */
INLINE __m512i FN(beside)(__m256i low, __m256i high) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

INLINE __m256i FN(rounded)(V x) { return (__m256i)_mm512_cvtneps_pbh((__m512)x); }

/* What `dots` attention keeps in its scratch memory. */
typedef struct FN(tiles) {
    uint32_t *qt, *ot;       /* q and dO, transposed: [pair of cells][query] */
    uint32_t *qb, *ob;       /* the same as [pair of queries][cell] */
    uint32_t *kb;            /* keys (forward: values) as [pair of keys][cell] */
    uint32_t *pairs;         /* p (backward: ds) as [pair of keys][query] */
    uint32_t *kt;            /* keys, transposed: [pair of cells][key] */
    uint16_t *p16, *g16;     /* p and ds as [key][query] */
    A *st, *dt;              /* scores and dO V^T: [key][query] */
    A *o;                    /* the sum of p v (backward: ds k), [query][cell] */
    A *top, *sum, *fix;      /* per query; backward: log-sum-exp, sum dO O, unused */
    const uint32_t **k, **v; /* rows of keys and values in the block */
    const uint32_t **rows;   /* rows of another left factor */
} FN(tiles);

/* Cuts scratch memory up; returns its end. */
static int64_t FN(cut)(FN(tiles) * t, char *scratch, int64_t dim, int32_t backward) {
    const int64_t wide = FN(padded)(dim), Q = CK_QUERY_BLOCK, B = CK_KEY_BLOCK;
    int64_t at = 0;
#define CUT(field, cells)                                                                          \
    do {                                                                                           \
        t->field = (void *)(scratch + at);                                                         \
        at += ((cells) * (int64_t)sizeof(*t->field) + 63) / 64 * 64;                               \
    } while (0)
    CUT(qt, dim / 2 * Q);
    CUT(kb, B / 2 * wide);
    CUT(pairs, B / 2 * Q);
    CUT(kt, dim / 2 * (B + LANES));
    CUT(st, B * Q);
    CUT(top, Q);
    CUT(sum, Q);
    CUT(fix, Q);
    CUT(o, Q * wide);
    CUT(k, B);
    CUT(v, B);
    CUT(rows, Q > B ? Q : B);
    if (backward) {
        CUT(ot, dim / 2 * Q);
        CUT(qb, Q / 2 * wide);
        CUT(ob, Q / 2 * wide);
        CUT(p16, B * Q);
        CUT(g16, B * Q);
        CUT(dt, B * Q);
    }
#undef CUT
    return at;
}

static int64_t FN(attention_scratch_dots)(int64_t dim, int32_t backward) {
    FN(tiles) t;
    const int64_t plain = FN(attention_scratch)(dim, backward), own = FN(cut)(&t, 0, dim, backward);
    return own > plain ? own : plain;
}

/* st[key][query] = rows of `left` times the transposed queries, for the strips that FN(raw_scores) takes. */
static void FN(dot_scores)(A *st, const uint32_t *const *left, const uint32_t *qt, int64_t limit,
                           int64_t n, int64_t vecs, int64_t dim) {
    const int64_t Q = CK_QUERY_BLOCK;
    for (int64_t key = 0, some; key < n; key += some) {
        const int64_t w = FN(first_of)(limit, key);
        if (w >= vecs)
            break;
        for (some = LANES; key + some < n && FN(first_of)(limit, key + some) == w;)
            some += LANES;
        some = some < n - key ? some : n - key;
        FN(dots)
        (st + key * Q + w * LANES, Q, (vecs - w) * LANES, left + key, 1, qt + w * LANES, Q, some,
         dim / 2, 0, 0);
    }
}

/* c (queries `first` ..< count) = c keep + x y, x[pair of keys][query], y[pair of keys][cell]. */
static void FN(dots_over_keys)(A *c, int64_t ldc, const uint32_t *x, const FN(tiles) * t,
                               int64_t limit, int64_t n, int64_t first, int64_t count, int64_t dim,
                               const A *keep) {
    const int64_t wide = FN(padded)(dim);
    for (int64_t i = first, some; i < count; i += some) {
        const int64_t keys = FN(keys_of)(limit, i / LANES, n);
        for (some = LANES - i % LANES;
             i + some < count && FN(keys_of)(limit, (i + some) / LANES, n) == keys;)
            some += LANES;
        some = some < count - i ? some : count - i;
        FN(rows_at)(t->rows, x + i, 4, some);
        FN(dots)
        (c + i * ldc, ldc, dim, t->rows, CK_QUERY_BLOCK, t->kb, wide, some, (keys + 1) / 2, 1,
         keep ? keep + i : 0);
    }
}

/* c (keys) += x^T y, x[key][query], y[pair of queries][cell]. */
static void FN(dots_over_queries)(A *c, int64_t ldc, const uint16_t *x, const uint32_t *y,
                                  const FN(tiles) * t, int64_t limit, int64_t n, int64_t count,
                                  int64_t dim) {
    const int64_t Q = CK_QUERY_BLOCK, wide = FN(padded)(dim);
    for (int64_t key = 0, some; key < n; key += some) {
        const int64_t from = FN(first_of)(limit, key) * LANES;
        if (from >= count)
            break;
        for (some = LANES; key + some < n && FN(first_of)(limit, key + some) * LANES == from;)
            some += LANES;
        some = some < n - key ? some : n - key;
        FN(rows_at)(t->rows, x + key * Q + from, 2 * Q, some);
        FN(dots)
        (c + key * ldc, ldc, dim, t->rows, 1, y + from / 2 * wide, wide, some,
         (count - from + 1) / 2, 1, 0);
    }
}

/* Scores that stay as products are scaled on the way into e^x; others are finished first. */
INLINE int FN(is_plain)(const ck_attention *a) { return a->softcap <= 0 && a->scale > 0; }
INLINE ck_attention FN(unscaled)(const ck_attention *a, int plain) {
    ck_attention b = *a;
    b.scale = plain ? 1 : a->scale;
    return b;
}

/* The range in use and the number of its first key. */
typedef struct FN(place) {
    int64_t range, base;
} FN(place);

/* Where the keys and values number key0 ..< key0 + n are; the numbers ascend from call to call. */
static void FN(find_keys)(const FN(tiles) * t, FN(place) * place, const void *k, const void *v,
                          const ck_attention *a, int64_t key0, int64_t n) {
    for (int64_t done = 0, part; done < n; done += part) {
        while (key0 + done >= place->base + a->ranges[2 * place->range + 1])
            place->base += a->ranges[2 * place->range++ + 1];
        const int64_t from = key0 + done - place->base;
        const int64_t row = a->ranges[2 * place->range] + from;
        const int64_t left = a->ranges[2 * place->range + 1] - from;
        part = left < n - done ? left : n - done;
        FN(rows_at)
        (t->k + done, (const T *)k + row * a->kv_stride, 2 * a->kv_stride, part);
        FN(rows_at)
        (t->v + done, (const T *)v + row * a->kv_stride, 2 * a->kv_stride, part);
    }
}

static void FN(finish_queries)(void *out, void *lse, int64_t lse_stride, const FN(tiles) * t,
                               const ck_attention *a, int64_t row0, int64_t count) {
    const int64_t dim = a->dim, wide = FN(padded)(dim);
    for (int64_t i = 0; i < count; i++) {
        T *to = (T *)out + (row0 + i) * a->q_stride;
        A r = t->sum[i] > 0 ? 1 / t->sum[i] : 0;
        EACH(d, dim) STORE(to + d, FN(loada)(t->o + i * wide + d) * r, dim - d);
        ((A *)lse)[(row0 + i) * lse_stride] = t->top[i] + (A)log((double)t->sum[i]);
    }
}

#include "attention_few.h"

static void FN(attention_dots)(void *out, void *lse, int64_t lse_stride, const void *q,
                               const void *k, const void *v, const ck_attention *a, int64_t begin,
                               int64_t count, void *scratch) {
    const int64_t dim = a->dim, Q = CK_QUERY_BLOCK, wide = FN(padded)(dim);
    if (dim % 2) {
        FN(attention)(out, lse, lse_stride, q, k, v, a, begin, count, scratch);
        return;
    }
    if (FN(are_few)(a, count)) {
        FN(attention_few)(out, lse, lse_stride, q, k, v, a, begin, count, scratch);
        return;
    }
    FN(tiles) t;
    FN(cut)(&t, scratch, dim, 0);
    const int64_t vecs = (count + LANES - 1) / LANES;
    const int64_t row0 = a->first + begin;
    FN(pack_pairs_t)(t.qt, (const T *)q + row0 * a->q_stride, a->q_stride, count, dim);
    memset(t.o, 0, (size_t)(count * wide) * sizeof(A));
    for (int64_t i = 0; i < vecs * LANES; i++) {
        t.top[i] = -(A)INFINITY;
        t.sum[i] = 0;
    }
    const int plain = FN(is_plain)(a);
    const A scale = plain ? (A)a->scale : 1;
    const ck_attention b = FN(unscaled)(a, plain);
    const int64_t limit = a->flat ? a->total : a->total - a->queries + begin + 1;
    const int64_t last = a->flat ? a->total : limit + count - 1;
    FN(place) place = {0, 0};
    for (int64_t key0 = 0; key0 < last; key0 += CK_KEY_BLOCK) {
        const int64_t n = last - key0 < CK_KEY_BLOCK ? last - key0 : CK_KEY_BLOCK;
        if (a->window > 0 && key0 + n + a->window <= limit)
            continue;
        const int masked = key0 + n > limit || (a->window > 0 && key0 + a->window < last);
        FN(find_keys)(&t, &place, k, v, a, key0, n);
        FN(pack_pairs)(t.kb, wide, t.v, n, dim);
        const int64_t seen = a->flat ? n + Q : limit - key0;
        FN(dot_scores)(t.st, t.k, t.qt, seen, n, vecs, dim);
        for (int64_t w = 0; w < vecs; w++) {
            const int64_t keys = FN(keys_of)(seen, w, n);
            A *st = t.st + w * LANES;
            V lim = a->flat ? FN(splat)((A)limit) : FN(count_from)(limit + w * LANES);
            V best = FN(splat)(-(A)INFINITY);
            for (int64_t j = 0; j < keys; j++) {
                V s = FN(loada)(st + j * Q);
                if (masked || !plain) {
                    s = FN(score)(s, &b, key0 + j, lim, masked, 0);
                    FN(storea)(st + j * Q, s);
                }
                best = FN(max)(s, best);
            }
            const V old = FN(loada)(t.top + w * LANES);
            best = FN(max)(best * scale, old);
            V safe = FN(pick)(best == -(A)INFINITY, (V){}, best);
            V change = FN(exp)(old - safe), total = FN(loada)(t.sum + w * LANES) * change;
            for (int64_t j = 0; j < keys; j += 2) {
                V one = FN(exp)(FN(loada)(st + j * Q) * scale - safe), two = {};
                total += one;
                if (j + 1 < keys) {
                    two = FN(exp)(FN(loada)(st + (j + 1) * Q) * scale - safe);
                    total += two;
                }
                _mm512_storeu_si512(t.pairs + j / 2 * Q + w * LANES,
                                    FN(beside)(FN(rounded)(one), FN(rounded)(two)));
            }
            FN(storea)(t.top + w * LANES, best);
            FN(storea)(t.sum + w * LANES, total);
            FN(storea)(t.fix + w * LANES, change);
        }
        /* Queries that see no key of the block keep what they have. */
        const int64_t first = seen < 1 ? 1 - seen : 0;
        FN(dots_over_keys)(t.o, wide, t.pairs, &t, seen, n, first, count, dim, t.fix);
    }
    FN(finish_queries)(out, lse, lse_stride, &t, a, row0, count);
}

/* p, ds of a block in the forms that the products take; see attention_backward for the formulas. */
static void FN(dot_slopes)(const FN(tiles) * t, const ck_attention *a, int64_t key0, int64_t limit,
                           int64_t n, int64_t vecs, int masked) {
    const int64_t Q = CK_QUERY_BLOCK;
    const int plain = FN(is_plain)(a);
    const A scale = plain ? (A)a->scale : 1;
    const ck_attention b = FN(unscaled)(a, plain);
    for (int64_t w = 0; w < vecs; w++) {
        const int64_t keys = FN(keys_of)(limit - key0, w, n), at = w * LANES;
        V lim = FN(count_from)(limit + at);
        V z = FN(loada)(t->top + at), e = FN(loada)(t->sum + at);
        for (int64_t j = 0; j < keys; j += 2) {
            __m256i ds[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            for (int64_t h = 0; h < 2 && j + h < keys; h++) {
                const int64_t cell = (j + h) * Q + at;
                V slope = FN(splat)((A)a->scale), s = FN(loada)(t->st + cell);
                if (masked || !plain) {
                    V bend = FN(splat)(1);
                    s = FN(score)(s, &b, key0 + j + h, lim, masked, &bend);
                    slope *= bend;
                }
                V p = FN(exp)(s * scale - z);
                ds[h] = FN(rounded)(p * (FN(loada)(t->dt + cell) - e) * slope);
                _mm256_storeu_si256((__m256i *)(t->p16 + cell), FN(rounded)(p));
                _mm256_storeu_si256((__m256i *)(t->g16 + cell), ds[h]);
            }
            _mm512_storeu_si512(t->pairs + j / 2 * Q + at, FN(beside)(ds[0], ds[1]));
        }
    }
}

static void FN(attention_backward_dots)(void *dq, void *dk, void *dv, const void *dout,
                                        const void *out, const void *lse, int64_t lse_stride,
                                        const void *q, const void *k, const void *v,
                                        const ck_attention *a, void *scratch) {
    const int64_t dim = a->dim, wide = FN(padded)(dim), Q = CK_QUERY_BLOCK, B = CK_KEY_BLOCK;
    if (dim % 2) {
        FN(attention_backward)
        (dq, dk, dv, dout, out, lse, lse_stride, q, k, v, a, scratch);
        return;
    }
    FN(tiles) t;
    FN(cut)(&t, scratch, dim, 1);
    for (int64_t begin = 0; begin < a->queries; begin += Q) {
        const int64_t count = a->queries - begin < Q ? a->queries - begin : Q;
        const int64_t vecs = (count + LANES - 1) / LANES, row0 = a->first + begin;
        const T *q0 = (const T *)q + row0 * a->q_stride, *d0 = (const T *)dout + row0 * a->q_stride;
        const T *o0 = (const T *)out + row0 * a->q_stride;
        FN(pack_pairs_t)(t.qt, q0, a->q_stride, count, dim);
        FN(pack_pairs_t)(t.ot, d0, a->q_stride, count, dim);
        FN(rows_at)(t.rows, q0, 2 * a->q_stride, count);
        FN(pack_pairs)(t.qb, wide, t.rows, count, dim);
        FN(rows_at)(t.rows, d0, 2 * a->q_stride, count);
        FN(pack_pairs)(t.ob, wide, t.rows, count, dim);
        memset(t.o, 0, (size_t)(count * wide) * sizeof(A));
        for (int64_t i = 0; i < vecs * LANES; i++) {
            V s = {};
            if (i < count)
                EACH(d, dim)
            s += LOAD(d0 + i * a->q_stride + d, dim - d) * LOAD(o0 + i * a->q_stride + d, dim - d);
            t.sum[i] = _mm512_reduce_add_ps((__m512)s);
            t.top[i] = i < count ? ((const A *)lse)[(row0 + i) * lse_stride]
                                 : (A)INFINITY; /* p = 0 past the end */
        }
        const int64_t limit = a->total - a->queries + begin + 1, last = limit + count - 1;
        int64_t base = 0;
        for (int64_t range = 0; range < a->range_count && base < last;
             base += a->ranges[2 * range + 1], range++) {
            const int64_t size = a->ranges[2 * range + 1];
            for (int64_t from = 0; from < size && base + from < last; from += B) {
                int64_t n = size - from < B ? size - from : B;
                if (base + from + n > last)
                    n = last - base - from;
                const int64_t key0 = base + from, seen = limit - key0;
                if (a->window > 0 && key0 + n + a->window <= limit)
                    continue;
                const int masked = key0 + n > limit || (a->window > 0 && key0 + a->window < last);
                const int64_t row = a->ranges[2 * range] + from, cell = row * a->kv_stride;
                FN(rows_at)(t.k, (const T *)k + cell, 2 * a->kv_stride, n);
                FN(rows_at)(t.v, (const T *)v + cell, 2 * a->kv_stride, n);
                FN(pack_pairs)(t.kb, wide, t.k, n, dim);
                FN(dot_scores)(t.st, t.k, t.qt, seen, n, vecs, dim);
                FN(dot_scores)(t.dt, t.v, t.ot, seen, n, vecs, dim);
                FN(dot_slopes)(&t, a, key0, limit, n, vecs, masked);
                FN(dots_over_queries)
                ((A *)dv + cell, a->kv_stride, t.p16, t.ob, &t, seen, n, count, dim);
                FN(dots_over_queries)
                ((A *)dk + cell, a->kv_stride, t.g16, t.qb, &t, seen, n, count, dim);
                FN(dots_over_keys)
                (t.o, wide, t.pairs, &t, seen, n, seen < 1 ? 1 - seen : 0, count, dim, 0);
            }
        }
        for (int64_t i = 0; i < count; i++) {
            T *to = (T *)dq + (row0 + i) * a->q_stride;
            EACH(d, dim) STORE(to + d, FN(loada)(t.o + i * wide + d), dim - d);
        }
    }
}
