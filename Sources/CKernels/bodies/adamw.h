/* Loshchilov & Hutter 2019, with torch's order of operations. */
static void FN(adamw)(void *master, void *m, void *v, void *low, const void *grad, int64_t n,
                      const ck_adamw *p) {
    const A b2 = (A)p->beta2, keep = (A)(1 - p->lr * p->decay), scale = (A)p->scale;
    const A c1 = (A)(1 - p->beta1), c2 = (A)(1 - p->beta2);
    const A step = (A)(p->lr / p->correction1), root = (A)(1 / sqrt(p->correction2)),
            eps = (A)p->eps;
    EACH(i, n) {
        V g = LOADA((const A *)grad + i, n - i) * scale;
        V x = LOADA((const A *)master + i, n - i) * keep;
        V mean = LOADA((const A *)m + i, n - i);
        mean = mean + c1 * (g - mean);
        V var = b2 * LOADA((const A *)v + i, n - i) + c2 * g * g;
        x -= step * mean / (__builtin_elementwise_sqrt(var) * root + eps);
        STOREA((A *)m + i, mean, n - i);
        STOREA((A *)v + i, var, n - i);
        STOREA((A *)master + i, x, n - i);
        if (low)
            STORE((T *)low + i, x, n - i);
    }
}

static double FN(squared_norm)(const void *x, int64_t n) {
    ck_vd s = {};
    EACH(i, n) {
        ck_vd v = __builtin_convertvector(LOADA((const A *)x + i, n - i), ck_vd);
        s += v * v;
    }
    double c[LANES];
    memcpy(c, &s, sizeof c);
    for (int k = LANES / 2; k > 0; k /= 2)
        for (int i = 0; i < k; i++)
            c[i] += c[i + k];
    return c[0];
}
