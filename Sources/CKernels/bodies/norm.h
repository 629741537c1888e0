static void FN(rms_norm)(void *y, void *rstd, const void *x, const void *w, int64_t rows,
                         int64_t cols, double eps, double offset) {
    for (int64_t r = 0; r < rows; r++) {
        const T *xr = (const T *)x + r * cols;
        V s = {};
        EACH(i, cols) {
            V v = LOAD(xr + i, cols - i);
            s += v * v;
        }
        A k = (A)1 / (A)sqrt((double)(FN(sum)(s) / (A)cols + (A)eps));
        ((A *)rstd)[r] = k;
        EACH(i, cols) {
            V v = LOAD(xr + i, cols - i) * k * ((A)offset + LOAD((const T *)w + i, cols - i));
            STORE((T *)y + r * cols + i, v, cols - i);
        }
    }
}

/* g = dy (offset + w);  dx = rstd g - x rstd^3 mean(g x);  dw = dy x rstd */
static void FN(rms_norm_backward)(void *dx, void *dw, const void *dy, const void *x, const void *w,
                                  const void *rstd, int64_t rows, int64_t cols, double offset) {
    for (int64_t r = 0; r < rows; r++) {
        const T *xr = (const T *)x + r * cols, *dr = (const T *)dy + r * cols;
        A k = ((const A *)rstd)[r];
        V s = {};
        EACH(i, cols) {
            V v = LOAD(xr + i, cols - i), d = LOAD(dr + i, cols - i);
            s += d * ((A)offset + LOAD((const T *)w + i, cols - i)) * v;
            if (dw) {
                V sum = LOADA((const A *)dw + i, cols - i) + d * v * k;
                STOREA((A *)dw + i, sum, cols - i);
            }
        }
        if (!dx)
            continue;
        A c = FN(sum)(s) / (A)cols * k * k * k;
        EACH(i, cols) {
            V g = LOAD(dr + i, cols - i) * ((A)offset + LOAD((const T *)w + i, cols - i));
            STORE((T *)dx + r * cols + i, g * k - LOAD(xr + i, cols - i) * c, cols - i);
        }
    }
}

static void FN(layer_norm)(void *y, void *mean, void *rstd, const void *x, const void *w,
                           const void *b, int64_t rows, int64_t cols, double eps) {
    for (int64_t r = 0; r < rows; r++) {
        const T *xr = (const T *)x + r * cols;
        V s = {};
        EACH(i, cols) s += LOAD(xr + i, cols - i);
        A m = FN(sum)(s) / (A)cols;
        V q = {};
        EACH(i, cols) {
            V v = LOAD(xr + i, cols - i) - m;
            if (cols - i < LANES) { /* lanes past the end hold -m */
                A c[LANES];
                FN(storea)(c, v);
                for (int64_t j = cols - i; j < LANES; j++)
                    c[j] = 0;
                v = FN(loada)(c);
            }
            q += v * v;
        }
        A k = (A)1 / (A)sqrt((double)(FN(sum)(q) / (A)cols + (A)eps));
        ((A *)mean)[r] = m;
        ((A *)rstd)[r] = k;
        EACH(i, cols) {
            V v = (LOAD(xr + i, cols - i) - m) * k * LOAD((const T *)w + i, cols - i);
            if (b)
                v += LOAD((const T *)b + i, cols - i);
            STORE((T *)y + r * cols + i, v, cols - i);
        }
    }
}

/* n = (x - mean) rstd, g = dy w;  dx = rstd (g - mean(g) - n mean(g n));  dw = dy n;  db = dy */
static void FN(layer_norm_backward)(void *dx, void *dw, void *db, const void *dy, const void *x,
                                    const void *w, const void *mean, const void *rstd, int64_t rows,
                                    int64_t cols) {
    for (int64_t r = 0; r < rows; r++) {
        const T *xr = (const T *)x + r * cols, *dr = (const T *)dy + r * cols;
        A m = ((const A *)mean)[r], k = ((const A *)rstd)[r];
        V s = {}, q = {};
        EACH(i, cols) {
            V d = LOAD(dr + i, cols - i); /* 0 past the end, so the lanes there add nothing */
            V n = (LOAD(xr + i, cols - i) - m) * k;
            V g = d * LOAD((const T *)w + i, cols - i);
            s += g;
            q += g * n;
            if (dw) {
                V sum = LOADA((const A *)dw + i, cols - i) + d * n;
                STOREA((A *)dw + i, sum, cols - i);
            }
            if (db) {
                V sum = LOADA((const A *)db + i, cols - i) + d;
                STOREA((A *)db + i, sum, cols - i);
            }
        }
        if (!dx)
            continue;
        A mg = FN(sum)(s) / (A)cols, mgn = FN(sum)(q) / (A)cols;
        EACH(i, cols) {
            V n = (LOAD(xr + i, cols - i) - m) * k;
            V g = LOAD(dr + i, cols - i) * LOAD((const T *)w + i, cols - i);
            STORE((T *)dx + r * cols + i, k * (g - mg - n * mgn), cols - i);
        }
    }
}

static void FN(rope)(void *y, const void *x, const int32_t *positions, const void *cos,
                     const void *sin, int64_t rows, int64_t heads, int64_t dim, int64_t half,
                     double sign) {
    for (int64_t r = 0; r < rows; r++) {
        const A *c = (const A *)cos + positions[r] * half,
                *s = (const A *)sin + positions[r] * half;
        for (int64_t h = 0; h < heads; h++) {
            const T *from = (const T *)x + (r * heads + h) * dim;
            T *to = (T *)y + (r * heads + h) * dim;
            EACH(i, half) {
                V a = LOAD(from + i, half - i), b = LOAD(from + half + i, half - i);
                V co = LOADA(c + i, half - i), si = LOADA(s + i, half - i) * (A)sign;
                STORE(to + i, a * co - b * si, half - i);
                STORE(to + half + i, b * co + a * si, half - i);
            }
            if (dim > 2 * half)
                memcpy(to + 2 * half, from + 2 * half, (size_t)(dim - 2 * half) * sizeof(T));
        }
    }
}
