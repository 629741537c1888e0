/* Distributions over the vocabulary. */

static double FN(largest)(const void *xv, int64_t n) {
    const A *x = (const A *)xv;
    V best = FN(splat)(-(A)INFINITY), bad = {};
    EACH(i, n) {
        V c = FN(tail_is)(LOADA(x + i, n - i), n - i, -(A)INFINITY);
        bad = (V)((I)bad | (I)(c != c));
        best = FN(max)(c, best);
    }
    A mask[LANES];
    FN(storea)(mask, (V)((I)FN(splat)(1) & (I)bad));
    for (int i = 0; i < LANES; i++)
        if (mask[i] != 0)
            return NAN;
    return (double)FN(top)(best);
}

static double FN(exps)(void *ev, const void *xv, int64_t n, double top) {
    const A *x = (const A *)xv, m = (A)top;
    A *e = (A *)ev;
    double all = 0;
    for (int64_t block = 0; block < n; block += CK_DRAW_BLOCK) {
        const int64_t end = n - block < CK_DRAW_BLOCK ? n : block + CK_DRAW_BLOCK;
        V sum = {};
        for (int64_t i = block; i < end; i += LANES) {
            /* -inf is never drawn; the polynomial would make something of it. */
            V c = FN(tail_is)(LOADA(x + i, end - i), end - i, -(A)INFINITY);
            V p = FN(pick)(c == -(A)INFINITY, (V){}, FN(exp)(c - m));
            sum += p;
            if (e)
                STOREA(e + i, p, end - i);
        }
        all += (double)FN(sum)(sum);
    }
    return all;
}
