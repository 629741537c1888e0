static void FN(add)(void *y, const void *a, const void *b, int64_t n) {
    EACH(i, n) {
        V v = LOAD((const T *)a + i, n - i) + LOAD((const T *)b + i, n - i);
        STORE((T *)y + i, v, n - i);
    }
}

static void FN(multiply)(void *y, const void *a, const void *b, int64_t n) {
    EACH(i, n) {
        V v = LOAD((const T *)a + i, n - i) * LOAD((const T *)b + i, n - i);
        STORE((T *)y + i, v, n - i);
    }
}

static void FN(accumulate)(void *sum, const void *x, int64_t n) {
    EACH(i, n) {
        V v = LOADA((const A *)sum + i, n - i) + LOAD((const T *)x + i, n - i);
        STOREA((A *)sum + i, v, n - i);
    }
}

static void FN(scale)(void *y, const void *x, double k, int64_t n) {
    EACH(i, n) STORE((T *)y + i, LOAD((const T *)x + i, n - i) * (A)k, n - i);
}

static void FN(silu)(void *y, const void *x, int64_t n) {
    EACH(i, n) {
        V v = LOAD((const T *)x + i, n - i);
        STORE((T *)y + i, v * FN(sigmoid)(v), n - i);
    }
}

/* d silu = s (1 + x (1 - s)), s = sigmoid(x) */
static void FN(silu_backward)(void *dx, const void *dy, const void *x, int64_t n) {
    EACH(i, n) {
        V v = LOAD((const T *)x + i, n - i);
        V s = FN(sigmoid)(v);
        STORE((T *)dx + i, LOAD((const T *)dy + i, n - i) * s * (1 + v * (1 - s)), n - i);
    }
}

static void FN(swiglu)(void *y, const void *gate, const void *up, int64_t n) {
    EACH(i, n) {
        V g = LOAD((const T *)gate + i, n - i);
        STORE((T *)y + i, g * FN(sigmoid)(g) * LOAD((const T *)up + i, n - i), n - i);
    }
}

static void FN(swiglu_backward)(void *dgate, void *dup, const void *dy, const void *gate,
                                const void *up, int64_t n) {
    EACH(i, n) {
        V g = LOAD((const T *)gate + i, n - i);
        V u = LOAD((const T *)up + i, n - i);
        V d = LOAD((const T *)dy + i, n - i);
        V s = FN(sigmoid)(g);
        STORE((T *)dup + i, d * g * s, n - i);
        STORE((T *)dgate + i, d * u * s * (1 + g * (1 - s)), n - i);
    }
}

static void FN(gelu)(void *y, const void *x, int64_t n, int32_t approximate) {
    EACH(i, n) {
        V v = LOAD((const T *)x + i, n - i);
        V t = approximate ? FN(tanh)((A)0.7978845608028654 * (v + (A)0.044715 * v * v * v))
                          : FN(erf)(v * (A)0.7071067811865476);
        STORE((T *)y + i, (A)0.5 * v * (1 + t), n - i);
    }
}

static void FN(gelu_backward)(void *dx, const void *dy, const void *x, int64_t n,
                              int32_t approximate) {
    EACH(i, n) {
        V v = LOAD((const T *)x + i, n - i);
        V slope;
        if (approximate) {
            V t = FN(tanh)((A)0.7978845608028654 * (v + (A)0.044715 * v * v * v));
            V inner = (A)0.7978845608028654 * (1 + (A)0.134145 * v * v);
            slope = (A)0.5 * (1 + t) + (A)0.5 * v * (1 - t * t) * inner;
        } else {
            V density = (A)0.3989422804014327 * FN(exp)((A)-0.5 * v * v);
            slope = (A)0.5 * (1 + FN(erf)(v * (A)0.7071067811865476)) + v * density;
        }
        STORE((T *)dx + i, LOAD((const T *)dy + i, n - i) * slope, n - i);
    }
}

static void FN(add_bias)(void *y, const void *b, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        FN(add)((T *)y + r * cols, (T *)y + r * cols, b, cols);
}

static void FN(store_bias)(void *y, const void *x, const void *b, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        EACH(i, cols) {
            V v = LOADA((const A *)x + r * cols + i, cols - i);
            if (b)
                v += LOAD((const T *)b + i, cols - i);
            STORE((T *)y + r * cols + i, v, cols - i);
        }
}

static void FN(column_sums)(void *sum, const void *x, int64_t rows, int64_t cols) {
    EACH(i, cols) {
        V v = {};
        for (int64_t r = 0; r < rows; r++)
            v += LOAD((const T *)x + r * cols + i, cols - i);
        v += LOADA((const A *)sum + i, cols - i);
        STOREA((A *)sum + i, v, cols - i);
    }
}

static void FN(scatter_add)(void *sum, const void *x, const int32_t *ids, int64_t rows,
                            int64_t cols, int64_t begin, int64_t end) {
    for (int64_t r = 0; r < rows; r++) {
        A *to = (A *)sum + ids[r] * cols + begin;
        FN(accumulate)(to, (const T *)x + r * cols + begin, end - begin);
    }
}
