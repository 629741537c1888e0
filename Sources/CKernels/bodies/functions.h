/* Elementary functions on vectors.
 *
 * f32: e^x and e^x - 1 by x = n ln 2 + r, |r| <= ln(2)/2, and the Taylor series of e^r to r^7 (rest below
 * 6e-9, a tenth of half an ulp); measured against libm over all exponents with normal results: exp
 * 1.02 ulp, tanh 2.21 ulp.
 * f64: libm, lane by lane (gradient checks only). */
#if CK_TYPE == 1
#define LANEWISE(name, f)                                                                          \
    INLINE V FN(name)(V x) {                                                                       \
        A c[LANES];                                                                                \
        FN(storea)(c, x);                                                                          \
        for (int i = 0; i < LANES; i++)                                                            \
            c[i] = f(c[i]);                                                                        \
        return FN(loada)(c);                                                                       \
    }
LANEWISE(exp, exp)
LANEWISE(tanh, tanh)
LANEWISE(erf, erf)
#else
/* r and 2^n of e^x = 2^n e^r; x is held inside [-104, 89], where the result leaves f32. */
INLINE V FN(split)(V x, I *n) {
    x = FN(pick)(x < -104.0f, FN(splat)(-104.0f), x);
    x = FN(pick)(x > 89.0f, FN(splat)(89.0f), x);
    V magic = FN(splat)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    V k = x * 1.44269504f + magic;
    *n = (I)k - (I)magic;
    k = k - magic;
    return (x - k * 0.693359375f) - k * -2.12194440e-4f;
}
/* (e^r - 1 - r) / r^2 */
INLINE V FN(tail)(V r) {
    V p = FN(splat)(1.0f / 5040) * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    return p * r + 0.5f;
}
INLINE V FN(exp)(V x) {
#ifdef CK_DOTS
    /* The same series with the instructions for n and 2^n; x is held where e^x leaves f32. NaN stays NaN. */
    const __m512 y = _mm512_min_ps(_mm512_set1_ps(89.0f),
                                   _mm512_max_ps(_mm512_set1_ps(-104.0f), (__m512)x));
    const __m512 k = _mm512_roundscale_ps(_mm512_mul_ps(y, _mm512_set1_ps(1.44269504f)), 8);
    V r = (V)_mm512_fnmadd_ps(k, _mm512_set1_ps(0.693359375f), y);
    r = (V)_mm512_fnmadd_ps(k, _mm512_set1_ps(-2.12194440e-4f), (__m512)r);
    V e = FN(tail)(r) * (r * r) + r + 1.0f;
    return (V)_mm512_scalef_ps((__m512)e, k);
#else
    I n;
    V r = FN(split)(x, &n);
    V p = FN(tail)(r) * (r * r) + r + 1.0f;
    I half = n >> 1; /* two factors: 2^n alone may leave the range of f32 */
    return p * (V)((half + 127) << 23) * (V)((n - half + 127) << 23);
#endif
}
/* tanh x = m / (m + 2), m = e^2x - 1 without cancellation near 0. */
INLINE V FN(tanh)(V x) {
    V a = (V)((I)x & 0x7fffffff);
    a = FN(pick)(a > 10.0f, FN(splat)(10.0f), a);
    I n;
    V r = FN(split)(a + a, &n);
    V two_n = (V)((n + 127) << 23);
    V m = two_n * (FN(tail)(r) * (r * r) + r) + (two_n - 1.0f);
    V t = m / (m + 2.0f);
    return (V)((I)t | ((I)x & INT32_MIN)); /* the sign of x */
}
INLINE V FN(erf)(V x) {
    A c[LANES];
    FN(storea)(c, x);
    for (int i = 0; i < LANES; i++)
        c[i] = erff(c[i]);
    return FN(loada)(c);
}
#endif
INLINE V FN(sigmoid)(V x) { return 1 / (1 + FN(exp)(-x)); }
