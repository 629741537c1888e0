/* z of the doc of lm_chunk; `cap` becomes the capped logit before the temperature. */
INLINE V FN(lm_z)(V logit, A per_temperature, A softcap, V *cap) {
    V c = softcap > 0 ? FN(tanh)(logit * (1 / softcap)) * softcap : logit;
    if (cap)
        *cap = c;
    return c * per_temperature;
}

/* Lanes at or past n become `value`. */
INLINE V FN(tail_is)(V x, int64_t n, A value) {
    if (n >= LANES)
        return x;
    A c[LANES];
    FN(storea)(c, x);
    for (int64_t j = n; j < LANES; j++)
        c[j] = value;
    return FN(loada)(c);
}

static void FN(lm_chunk)(ck_lm_row *state, const void *logits, const int32_t *targets, int64_t rows,
                         int64_t cols, int64_t first, double temperature, double softcap,
                         int32_t wants, void *tops, void *exps) {
    const int entropy = wants & CK_LM_ENTROPY, total = wants & CK_LM_TOTAL;
    const A per = (A)(1 / temperature), cap = (A)softcap;
    for (int64_t r = 0; r < rows; r++) {
        const A *x = (const A *)logits + r * cols;
        ck_lm_row *s = state + r;
        V best = FN(splat)(-(A)INFINITY);
        EACH(i, cols)
        best = FN(max)(
            FN(tail_is)(FN(lm_z)(LOADA(x + i, cols - i), per, cap, 0), cols - i, -(A)INFINITY),
            best);
        A top = FN(top)(best);
        if ((double)top > s->best) {
            for (int64_t i = 0; i < cols; i += LANES) {
                A c[LANES];
                FN(storea)(c, FN(lm_z)(LOADA(x + i, cols - i), per, cap, 0));
                int64_t j = 0;
                while (j < LANES && i + j < cols && c[j] != top)
                    j++;
                if (j < LANES && i + j < cols) {
                    s->best_id = (int32_t)(first + i + j);
                    break;
                }
            }
            s->best = top;
        }
        if ((double)top > s->max) {
            double k = s->max == -INFINITY ? 0 : exp(s->max - (double)top);
            s->sum *= k;
            s->weighted *= k;
            s->max = top;
        }
        const A m = (A)s->max;
        T *to = exps ? (T *)exps + r * cols : 0;
        if (tops)
            ((A *)tops)[r] = m;
        V sum = {}, weighted = {};
        EACH(i, cols) {
            V z = FN(lm_z)(LOADA(x + i, cols - i), per, cap, 0);
            V p = FN(tail_is)(FN(exp)(z - m), cols - i, 0);
            sum += p;
            if (to)
                STORE(to + i, p, cols - i);
            if (entropy)
                weighted += p * z;
        }
        s->sum += (double)FN(sum)(sum);
        if (entropy)
            s->weighted += (double)FN(sum)(weighted);
        if (total) {
            V all = {};
            EACH(i, cols)
            all += FN(tail_is)(FN(lm_z)(LOADA(x + i, cols - i), per, cap, 0), cols - i, 0);
            s->total += (double)FN(sum)(all);
        }
        const int64_t t = targets[r] - first;
        if (t >= 0 && t < cols) {
            A c[LANES];
            FN(storea)(c, FN(lm_z)(FN(splat)(x[t]), per, cap, 0));
            s->target = (double)c[0];
        }
    }
}

/* p = e^(z - lse);  dz = g 1[target] + gv - gsum p - gh p (z - lse + h);
 * dlogit = dz / temperature (1 - (cap/softcap)^2) */
static void FN(lm_chunk_backward)(void *d, const void *logits, const int32_t *targets,
                                  const ck_lm_slope *slopes, int64_t rows, int64_t cols,
                                  int64_t first, double temperature, double softcap) {
    const A per = (A)(1 / temperature), sc = (A)softcap;
    for (int64_t r = 0; r < rows; r++) {
        const A *x = (const A *)logits + r * cols;
        T *to = (T *)d + r * cols;
        const ck_lm_slope *s = slopes + r;
        const A l = (A)s->lse, gr = (A)s->g, hr = (A)s->h, ghr = (A)s->gh;
        const A gvr = (A)s->gv, sum = (A)s->gsum;
        const int64_t t = targets[r] - first;
        EACH(i, cols) {
            V cap;
            V z = FN(lm_z)(LOADA(x + i, cols - i), per, sc, &cap);
            V p = FN(exp)(z - l);
            V dz = gvr - sum * p;
            if (ghr != 0)
                dz -= ghr * p * (z - l + hr);
            if (t >= i && t < i + LANES) {
                A c[LANES];
                FN(storea)(c, dz);
                c[t - i] += gr;
                dz = FN(loada)(c);
            }
            dz *= per;
            if (sc > 0)
                dz *= 1 - (cap / sc) * (cap / sc);
            STORE(to + i, dz, cols - i);
        }
    }
}

static void FN(lm_exps)(void *exps, const void *tops, const void *logits, int64_t rows,
                        int64_t cols, double temperature) {
    const A per = (A)(1 / temperature);
    for (int64_t r = 0; r < rows; r++) {
        const A *x = (const A *)logits + r * cols;
        const A m = ((const A *)tops)[r];
        EACH(i, cols) {
            V z = FN(lm_z)(LOADA(x + i, cols - i), per, 0, 0);
            STORE((T *)exps + r * cols + i, FN(exp)(z - m), cols - i);
        }
    }
}

/* p = exps e^(top - lse). The target's own p, which 1 may be near to, is not taken from the rounded cell. */
static void FN(lm_exps_backward)(void *exps, const void *tops, const int32_t *targets,
                                 const ck_lm_slope *slopes, int64_t rows, int64_t cols,
                                 int64_t first, double temperature) {
    const A per = (A)(1 / temperature);
    for (int64_t r = 0; r < rows; r++) {
        T *x = (T *)exps + r * cols;
        const ck_lm_slope *s = slopes + r;
        const A share = (A)(s->gsum * exp((double)((const A *)tops)[r] - s->lse)) * per;
        const A rest = (A)s->gv * per;
        EACH(i, cols) STORE(x + i, rest - share * LOAD(x + i, cols - i), cols - i);
        const int64_t t = targets[r] - first;
        if (t >= 0 && t < cols) {
            V own = FN(splat)((A)(s->g + s->gv - s->gsum * s->p) * per);
            FN(store_n)(x + t, own, 1);
        }
    }
}
