/* Attention over packed sequences, one head at a time, blocks of queries against blocks of keys. Scores are
 * kept transposed, [key][query]: the lanes are queries, so maxima and sums need no horizontal steps and the
 * result of a query does not depend on its neighbours. */

INLINE int64_t FN(padded)(int64_t dim) { return (dim + LANES - 1) / LANES * LANES; }

static int64_t FN(attention_scratch)(int64_t dim, int32_t backward) {
    int64_t wide = FN(padded)(dim), b = CK_KEY_BLOCK, q = CK_QUERY_BLOCK;
    int64_t cells = backward
                        ? 2 * wide * q + 2 * q * wide + 4 * b * wide + 2 * b * q + q * wide + 4 * q
                        : wide * q + 2 * b * wide + b * q + q * wide + 4 * q;
    return cells * (int64_t)sizeof(A);
}

/* to[row][0 ..< wide] = rows of x, zero beyond dim. */
INLINE void FN(pack)(A *to, int64_t wide, const T *x, int64_t stride, int64_t rows, int64_t dim) {
    for (int64_t r = 0; r < rows; r++)
        EACH(i, wide) {
            V v = i < dim ? LOAD(x + r * stride + i, dim - i) : (V){};
            FN(storea)(to + r * wide + i, v);
        }
}

/* to[d][0 ..< CK_QUERY_BLOCK] = the transpose, zero beyond `rows`. */
INLINE void FN(pack_t)(A *to, const T *x, int64_t stride, int64_t rows, int64_t dim) {
    for (int64_t d = 0; d < dim; d++)
        for (int64_t r = 0; r < CK_QUERY_BLOCK; r++)
            to[d * CK_QUERY_BLOCK + r] = r < rows ? FN(one)(x + r * stride + d) : 0;
}

/* The vector numbers begin, begin + 1, ... */
INLINE V FN(count_from)(int64_t begin) {
    A c[LANES];
    for (int i = 0; i < LANES; i++)
        c[i] = (A)i;
    return FN(loada)(c) + (A)begin;
}

/* Raw scores -> scaled, capped and masked; `limit` - keys seen by the first query of the block. Where
 * `slope` is wanted, it becomes ds/d(scaled raw score). */
INLINE V FN(score)(V raw, const ck_attention *a, int64_t key, V limit, int masked, V *slope) {
    V s = raw * (A)a->scale;
    if (a->softcap > 0) {
        V t = FN(tanh)(s * (A)(1 / a->softcap));
        s = t * (A)a->softcap;
        if (slope)
            *slope = 1 - t * t;
    }
    if (masked) {
        I seen = limit > (A)key;
        if (a->window > 0)
            seen &= limit <= (A)(key + a->window);
        s = FN(pick)(seen, s, FN(splat)(-(A)INFINITY));
    }
    return s;
}

/* Which part of a block is worth computing where the diagonal cuts it: keys are numbered within the block, and
 * `limit` is the number of keys that the block's first query sees. Everything left out has p = 0. */

/* Keys that some query of vector w sees, in whole strips of LANES. */
INLINE int64_t FN(keys_of)(int64_t limit, int64_t w, int64_t n) {
    int64_t seen = limit + w * LANES + LANES - 1;
    seen = seen <= 0 ? 0 : (seen + LANES - 1) / LANES * LANES;
    return seen < n ? seen : n;
}

/* The first vector of queries that sees a key of the strip beginning at `key`. */
INLINE int64_t FN(first_of)(int64_t limit, int64_t key) {
    int64_t query = key - limit + 1;
    return query <= 0 ? 0 : query / LANES;
}

/* st[key][query] = k q^T, keys n, vectors of queries vecs. */
static void FN(raw_scores)(A *st, const A *kb, int64_t wide, const A *qt, int64_t limit, int64_t n,
                           int64_t vecs, int64_t dim) {
    const int64_t Q = CK_QUERY_BLOCK;
    for (int64_t key = 0, some; key < n; key += some) {
        const int64_t w = FN(first_of)(limit, key);
        if (w >= vecs)
            break;
        /* Strips that begin with the same vector go together. */
        for (some = LANES; key + some < n && FN(first_of)(limit, key + some) == w;)
            some += LANES;
        some = some < n - key ? some : n - key;
        for (int64_t j = key; j < key + some; j++)
            memset(st + j * Q + w * LANES, 0, (size_t)((vecs - w) * LANES) * sizeof(A));
        FN(mm)
        (st + key * Q + w * LANES, Q, kb + key * wide, wide, 1, qt + w * LANES, Q, some, vecs - w,
         dim);
    }
}

/* o (queries) += p v: p[key][query]. */
static void FN(over_keys)(A *o, const A *st, const A *vb, int64_t wide, int64_t limit, int64_t n,
                          int64_t count) {
    const int64_t Q = CK_QUERY_BLOCK;
    for (int64_t i = 0, some; i < count; i += some) {
        const int64_t keys = FN(keys_of)(limit, i / LANES, n);
        for (some = LANES; i + some < count && FN(keys_of)(limit, (i + some) / LANES, n) == keys;)
            some += LANES;
        some = some < count - i ? some : count - i;
        FN(mm)(o + i * wide, wide, st + i, 1, Q, vb, wide, some, wide / LANES, keys);
    }
}

/* g (keys) += p^T x: p[key][query], x (queries). */
static void FN(over_queries)(A *g, const A *st, const A *x, int64_t wide, int64_t limit, int64_t n,
                             int64_t count) {
    const int64_t Q = CK_QUERY_BLOCK;
    for (int64_t key = 0, some; key < n; key += some) {
        const int64_t from = FN(first_of)(limit, key) * LANES;
        if (from >= count)
            break;
        for (some = LANES; key + some < n && FN(first_of)(limit, key + some) * LANES == from;)
            some += LANES;
        some = some < n - key ? some : n - key;
        FN(mm)
        (g + key * wide, wide, st + key * Q + from, Q, 1, x + from * wide, wide, some, wide / LANES,
         count - from);
    }
}

static void FN(attention)(void *out, void *lse, int64_t lse_stride, const void *q, const void *k,
                          const void *v, const ck_attention *a, int64_t begin, int64_t count,
                          void *scratch) {
    const int64_t dim = a->dim, wide = FN(padded)(dim), Q = CK_QUERY_BLOCK;
    A *qt = (A *)scratch, *kb = qt + wide * Q, *vb = kb + CK_KEY_BLOCK * wide;
    A *st = vb + CK_KEY_BLOCK * wide, *o = st + CK_KEY_BLOCK * Q, *top = o + Q * wide,
      *sum = top + Q, *fix = sum + Q;
    const int64_t vecs = (count + LANES - 1) / LANES;
    const int64_t row0 = a->first + begin;
    FN(pack_t)(qt, (const T *)q + row0 * a->q_stride, a->q_stride, count, dim);
    memset(o, 0, (size_t)(count * wide) * sizeof(A));
    for (int64_t i = 0; i < vecs * LANES; i++) {
        top[i] = -(A)INFINITY;
        sum[i] = 0;
    }
    /* Keys that the first and the last query of the block see. */
    const int64_t limit = a->flat ? a->total : a->total - a->queries + begin + 1;
    const int64_t last = a->flat ? a->total : limit + count - 1;
    /* Blocks are counted over all keys, whatever ranges they lie in: a query sees the same blocks, and so gets the
     * same bits, whether its keys are one stretch (training) or a prompt and a continuation (generation). */
    int64_t range = 0, base = 0; /* the range in use and the number of its first key */
    for (int64_t key0 = 0; key0 < last; key0 += CK_KEY_BLOCK) {
        const int64_t n = last - key0 < CK_KEY_BLOCK ? last - key0 : CK_KEY_BLOCK;
        if (a->window > 0 && key0 + n + a->window <= limit)
            continue;
        const int masked = key0 + n > limit || (a->window > 0 && key0 + a->window < last);
        for (int64_t done = 0, part; done < n; done += part) {
            while (key0 + done >= base + a->ranges[2 * range + 1])
                base += a->ranges[2 * range++ + 1];
            const int64_t from = key0 + done - base, row = a->ranges[2 * range] + from;
            part = a->ranges[2 * range + 1] - from < n - done ? a->ranges[2 * range + 1] - from
                                                              : n - done;
            FN(pack)
            (kb + done * wide, wide, (const T *)k + row * a->kv_stride, a->kv_stride, part, dim);
            FN(pack)
            (vb + done * wide, wide, (const T *)v + row * a->kv_stride, a->kv_stride, part, dim);
        }
        const int64_t seen = a->flat ? n + Q : limit - key0;
        FN(raw_scores)(st, kb, wide, qt, seen, n, vecs, dim);
        for (int64_t w = 0; w < vecs; w++) {
            const int64_t keys = FN(keys_of)(seen, w, n);
            V lim = a->flat ? FN(splat)((A)limit) : FN(count_from)(limit + w * LANES);
            V best = FN(loada)(top + w * LANES), old = best;
            for (int64_t j = 0; j < keys; j++) {
                V s = FN(score)(FN(loada)(st + j * Q + w * LANES), a, key0 + j, lim, masked, 0);
                FN(storea)(st + j * Q + w * LANES, s);
                best = FN(max)(s, best);
            }
            V safe = FN(pick)(best == -(A)INFINITY, (V){}, best);
            V change = FN(exp)(old - safe), total = FN(loada)(sum + w * LANES) * change;
            for (int64_t j = 0; j < keys; j++) {
                V p = FN(exp)(FN(loada)(st + j * Q + w * LANES) - safe);
                FN(storea)(st + j * Q + w * LANES, p);
                total += p;
            }
            FN(storea)(top + w * LANES, best);
            FN(storea)(sum + w * LANES, total);
            FN(storea)(fix + w * LANES, change);
        }
        for (int64_t i = 0; i < count; i++)
            if (fix[i] != 1)
                EACH(d, wide) FN(storea)(o + i * wide + d, FN(loada)(o + i * wide + d) * fix[i]);
        FN(over_keys)(o, st, vb, wide, seen, n, count);
    }
    for (int64_t i = 0; i < count; i++) {
        T *to = (T *)out + (row0 + i) * a->q_stride;
        A r = sum[i] > 0 ? 1 / sum[i] : 0;
        EACH(d, dim) STORE(to + d, FN(loada)(o + i * wide + d) * r, dim - d);
        ((A *)lse)[(row0 + i) * lse_stride] = top[i] + (A)log((double)sum[i]);
    }
}

/* p = e^(s - lse), dp = dO V^T, ds = p (dp - sum dO O) scale, dV = p^T dO, dK = ds^T Q, dQ = ds K */
static void FN(attention_backward)(void *dq, void *dk, void *dv, const void *dout, const void *out,
                                   const void *lse, int64_t lse_stride, const void *q,
                                   const void *k, const void *v, const ck_attention *a,
                                   void *scratch) {
    const int64_t dim = a->dim, wide = FN(padded)(dim), Q = CK_QUERY_BLOCK, B = CK_KEY_BLOCK;
    A *qt = (A *)scratch, *ot = qt + wide * Q, *qb = ot + wide * Q, *ob = qb + Q * wide;
    A *kb = ob + Q * wide, *vb = kb + B * wide, *dkb = vb + B * wide, *dvb = dkb + B * wide;
    A *st = dvb + B * wide, *dt = st + B * Q, *dqb = dt + B * Q, *delta = dqb + Q * wide,
      *norm = delta + Q;
    for (int64_t begin = 0; begin < a->queries; begin += Q) {
        const int64_t count = a->queries - begin < Q ? a->queries - begin : Q;
        const int64_t vecs = (count + LANES - 1) / LANES, row0 = a->first + begin;
        const T *q0 = (const T *)q + row0 * a->q_stride, *d0 = (const T *)dout + row0 * a->q_stride;
        const T *o0 = (const T *)out + row0 * a->q_stride;
        FN(pack_t)(qt, q0, a->q_stride, count, dim);
        FN(pack_t)(ot, d0, a->q_stride, count, dim);
        FN(pack)(qb, wide, q0, a->q_stride, count, dim);
        FN(pack)(ob, wide, d0, a->q_stride, count, dim);
        memset(dqb, 0, (size_t)(count * wide) * sizeof(A));
        for (int64_t i = 0; i < vecs * LANES; i++) {
            V s = {};
            if (i < count)
                EACH(d, dim)
            s += LOAD(d0 + i * a->q_stride + d, dim - d) * LOAD(o0 + i * a->q_stride + d, dim - d);
            delta[i] = FN(sum)(s);
            norm[i] = i < count ? ((const A *)lse)[(row0 + i) * lse_stride]
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
                const int64_t key0 = base + from;
                if (a->window > 0 && key0 + n + a->window <= limit)
                    continue;
                const int masked = key0 + n > limit || (a->window > 0 && key0 + a->window < last);
                const int64_t row = a->ranges[2 * range] + from;
                FN(pack)(kb, wide, (const T *)k + row * a->kv_stride, a->kv_stride, n, dim);
                FN(pack)(vb, wide, (const T *)v + row * a->kv_stride, a->kv_stride, n, dim);
                const int64_t seen = limit - key0;
                FN(raw_scores)(st, kb, wide, qt, seen, n, vecs, dim);
                FN(raw_scores)(dt, vb, wide, ot, seen, n, vecs, dim);
                for (int64_t w = 0; w < vecs; w++) {
                    const int64_t keys = FN(keys_of)(seen, w, n);
                    V lim = FN(count_from)(limit + w * LANES);
                    V z = FN(loada)(norm + w * LANES), e = FN(loada)(delta + w * LANES);
                    for (int64_t j = 0; j < keys; j++) {
                        V slope = FN(splat)(1);
                        V s = FN(score)(FN(loada)(st + j * Q + w * LANES), a, key0 + j, lim, masked,
                                        &slope);
                        V p = FN(exp)(s - z);
                        V g = p * (FN(loada)(dt + j * Q + w * LANES) - e) * slope * (A)a->scale;
                        FN(storea)(st + j * Q + w * LANES, p);
                        FN(storea)(dt + j * Q + w * LANES, g);
                    }
                }
                memset(dkb, 0, (size_t)(n * wide) * sizeof(A));
                memset(dvb, 0, (size_t)(n * wide) * sizeof(A));
                FN(over_queries)(dvb, st, ob, wide, seen, n, count);
                FN(over_queries)(dkb, dt, qb, wide, seen, n, count);
                FN(over_keys)(dqb, dt, kb, wide, seen, n, count);
                for (int64_t j = 0; j < n; j++)
                    EACH(d, dim) {
                        A *tk = (A *)dk + (row + j) * a->kv_stride + d,
                          *tv = (A *)dv + (row + j) * a->kv_stride + d;
                        STOREA(tk, LOADA(tk, dim - d) + FN(loada)(dkb + j * wide + d), dim - d);
                        STOREA(tv, LOADA(tv, dim - d) + FN(loada)(dvb + j * wide + d), dim - d);
                    }
            }
        }
        for (int64_t i = 0; i < count; i++) {
            T *to = (T *)dq + (row0 + i) * a->q_stride;
            EACH(d, dim) STORE(to + d, FN(loada)(dqb + i * wide + d), dim - d);
        }
    }
}
