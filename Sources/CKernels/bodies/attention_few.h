/* Attention of one token: a handful of queries that see all keys. Scores are kept as [query][key], so that no lane is
 * idle. A cell of a product is the same chain of pairs, and a sum of p takes its terms in the same order, as where
 * lanes are queries: the bits are those of FN(attention_dots). */

/* Queries at most: with more, the other layout is as good. */
enum { FN(FEW) = LANES / 2 };

INLINE int FN(are_few)(const ck_attention *a, int64_t count) {
    return count <= FN(FEW) && (a->flat || a->queries == 1) &&
           (a->window <= 0 || a->window >= a->total);
}

/* kt[pair of cells][key] of n keys; rows that lie `stride` cells apart go 16 at a time. */
static void FN(pack_keys_t)(const FN(tiles) * t, int64_t stride, int64_t n, int64_t dim) {
    for (int64_t key = 0, some; key < n; key += some) {
        const char *at = (const char *)t->k[key];
        for (some = 1; some < LANES && key + some < n &&
                       (const char *)t->k[key + some] == at + some * stride * 2;)
            some++;
        /* Lanes from `some` on are 0 until the next keys take their place. */
        for (int64_t p = 0; p < dim / 2; p += LANES)
            ck_transpose16(t->kt + p * (CK_KEY_BLOCK + LANES) + key, CK_KEY_BLOCK + LANES,
                           at + 4 * p, stride * 2, some, 2 * dim - 4 * p, dim / 2 - p);
    }
}

/* Rows `first` ... of o = o keep + p v for 64 cells from `cell` on: pairs of values are interleaved in registers, and
 * their sums put in order at the end. */
#define FEW_TILE(rows_)                                                                            \
    do {                                                                                           \
        __m512 s[rows_][4];                                                                        \
        for (int r = 0; r < rows_; r++)                                                            \
            for (int w = 0; w < 4; w++)                                                            \
                s[r][w] = _mm512_setzero_ps();                                                     \
        for (int64_t key = 0; key < n; key += 2) {                                                 \
            const uint16_t *low = (const uint16_t *)t->v[key] + cell;                              \
            const uint16_t *high = key + 1 < n ? (const uint16_t *)t->v[key + 1] + cell : low;     \
            const __mmask32 some[2] = {key + 1 < n ? part[0] : 0, key + 1 < n ? part[1] : 0};      \
            __m512i x[4];                                                                          \
            for (int h = 0; h < 2; h++) {                                                          \
                const __m512i one = _mm512_maskz_loadu_epi16(part[h], low + 32 * h);               \
                const __m512i two = _mm512_maskz_loadu_epi16(some[h], high + 32 * h);              \
                x[2 * h] = _mm512_unpacklo_epi16(one, two);                                        \
                x[2 * h + 1] = _mm512_unpackhi_epi16(one, two);                                    \
            }                                                                                      \
            for (int r = 0; r < rows_; r++) {                                                      \
                const __m512i y = _mm512_set1_epi32((int)p[(first + r) * (B / 2) + key / 2]);      \
                for (int w = 0; w < 4; w++)                                                        \
                    s[r][w] = _mm512_dpbf16_ps(s[r][w], (__m512bh)y, (__m512bh)x[w]);              \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < rows_; r++) {                                                          \
            float *to = t->o + (first + r) * wide + cell;                                          \
            const __m512 old = _mm512_set1_ps(t->fix[first + r]);                                  \
            for (int w = 0; w < 4 && cell + w * LANES < wide; w++) {                               \
                const __m512 sum = _mm512_permutex2var_ps(s[r][w & 2], order[w & 1],               \
                                                          s[r][(w & 2) + 1]);                      \
                _mm512_storeu_ps(to + w * LANES,                                                   \
                                 _mm512_fmadd_ps(old, _mm512_loadu_ps(to + w * LANES), sum));      \
            }                                                                                      \
        }                                                                                          \
        first += rows_;                                                                            \
    } while (0)

/* o = o keep + p v; p as [query][pair of keys]. */
static void FN(few_values)(const FN(tiles) * t, const uint32_t *p, int64_t n, int64_t count,
                           int64_t dim) {
    const int64_t wide = FN(padded)(dim), B = CK_KEY_BLOCK;
    /* Quarters of the low and of the high halves: 0 0' 1 1', then 2 2' 3 3'. */
    const __m512i order[2] = {
        _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
        _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)};
    for (int64_t cell = 0; cell < dim; cell += 64) {
        __mmask32 part[2];
        for (int h = 0; h < 2; h++) {
            const int64_t left = dim - cell - 32 * h;
            part[h] = left >= 32 ? ~(__mmask32)0 : left <= 0 ? 0 : ((__mmask32)1 << left) - 1;
        }
        for (int64_t first = 0; first < count;) {
            switch (count - first) {
            case 1:
                FEW_TILE(1);
                break;
            case 2:
                FEW_TILE(2);
                break;
            case 3:
                FEW_TILE(3);
                break;
            default:
                FEW_TILE(4);
            }
        }
    }
}

static void FN(attention_few)(void *out, void *lse, int64_t lse_stride, const void *q,
                              const void *k, const void *v, const ck_attention *a, int64_t begin,
                              int64_t count, void *scratch) {
    const int64_t dim = a->dim, wide = FN(padded)(dim), B = CK_KEY_BLOCK, row0 = a->first + begin;
    FN(tiles) t;
    FN(cut)(&t, scratch, dim, 0);
    uint16_t *p16 = (uint16_t *)t.pairs; /* p as [query][key] */
    const uint32_t *queries[FN(FEW)];
    FN(rows_at)(queries, (const T *)q + row0 * a->q_stride, 2 * a->q_stride, count);
    memset(t.o, 0, (size_t)(count * wide) * sizeof(A));
    for (int64_t i = 0; i < LANES; i++) {
        t.top[i] = -(A)INFINITY;
        t.sum[i] = 0;
    }
    const int plain = FN(is_plain)(a);
    const A scale = plain ? (A)a->scale : 1;
    const ck_attention b = FN(unscaled)(a, plain);
    FN(place) place = {0, 0};
    for (int64_t key0 = 0; key0 < a->total; key0 += B) {
        const int64_t n = a->total - key0 < B ? a->total - key0 : B;
        FN(find_keys)(&t, &place, k, v, a, key0, n);
        FN(pack_keys_t)(&t, a->kv_stride, n, dim);
        FN(dots)(t.st, B, n, queries, 1, t.kt, B + LANES, count, dim / 2, 0, 0);
        A largest[LANES] = {0}, lowest[LANES];
        for (int64_t i = 0; i < count; i++) {
            V best = FN(splat)(-(A)INFINITY);
            for (int64_t j = 0; j < n; j += LANES) {
                V s = FN(loada)(t.st + i * B + j);
                if (!plain) {
                    s = FN(score)(s, &b, 0, (V){}, 0, 0);
                    FN(storea)(t.st + i * B + j, s);
                }
                s = (V)_mm512_mask_mov_ps((__m512)FN(splat)(-(A)INFINITY), ck_first(n - j),
                                          (__m512)s);
                best = FN(max)(s, best);
            }
            largest[i] = _mm512_reduce_max_ps((__m512)best);
        }
        const V old = FN(loada)(t.top), best = FN(max)(FN(loada)(largest) * scale, old);
        const V safe = FN(pick)(best == -(A)INFINITY, (V){}, best);
        const V change = FN(exp)(old - safe), total = FN(loada)(t.sum) * change;
        FN(storea)(lowest, safe);
        FN(storea)(t.top, best);
        FN(storea)(t.sum, total);
        FN(storea)(t.fix, change);
        for (int64_t i = 0; i < count; i++) {
            for (int64_t j = 0; j < n; j += LANES) {
                V p = FN(exp)(FN(loada)(t.st + i * B + j) * scale - FN(splat)(lowest[i]));
                p = (V)_mm512_maskz_mov_ps(ck_first(n - j), (__m512)p);
                FN(storea)(t.st + i * B + j, p);
                _mm256_storeu_si256((__m256i *)(p16 + i * B + j), FN(rounded)(p));
            }
            A sum = t.sum[i];
            for (int64_t j = 0; j < n; j++)
                sum += t.st[i * B + j];
            t.sum[i] = sum;
        }
        FN(few_values)(&t, t.pairs, n, count, dim);
    }
    FN(finish_queries)(out, lse, lse_stride, &t, a, row0, count);
}
