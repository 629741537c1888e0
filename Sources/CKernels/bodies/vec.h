/* Vectors of CK_LANES cells whatever the instruction set: the compiler splits them where registers are
 * narrower, so every build sums in the same order. Included once per cell type (CK_TYPE). */
#undef T
#undef A
#undef V
#undef I
#undef VU
#undef FN
#define LANES 16

#if CK_TYPE == 0
#define T float
#define A float
#define FN(name) CK_JOIN(name, f32, CK_ISA)
#elif CK_TYPE == 1
#define T double
#define A double
#define FN(name) CK_JOIN(name, f64, CK_ISA)
#else
#define T uint16_t
#define A float
#define FN(name) CK_JOIN(name, bf16, CK_ISA)
#endif

#if CK_TYPE == 1
#define V ck_vd
#define VU ck_vdu
#define I ck_vl
#else
#define V ck_vf
#define VU ck_vfu
#define I ck_vi
#endif

#define INLINE static inline __attribute__((always_inline))

/* Not 0 + x: that is an addition, for the sake of -0. */
INLINE V FN(splat)(A x) { return (V){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE V FN(loada)(const A *p) { return *(const VU *)p; }
INLINE void FN(storea)(A *p, V x) { *(VU *)p = x; }

#if CK_TYPE == 2
INLINE V FN(load)(const T *p) {
    ck_vu wide = __builtin_convertvector(*(const ck_vsu *)p, ck_vu) << 16;
    return (V)wide;
}
/* Rounds to nearest even; NaN stays NaN. */
INLINE void FN(store)(T *p, V x) {
#ifdef CK_DOTS
    *(ck_vsu *)p = (ck_vs)_mm512_cvtneps_pbh((__m512)x); /* numbers below 2^-126 become 0 */
#else
    ck_vu u = (ck_vu)x;
    ck_vu nan = (ck_vu)(x != x);
    ck_vu r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    r = (r & ~nan) | (((u >> 16) | 0x40u) & nan);
    *(ck_vsu *)p = __builtin_convertvector(r, ck_vs);
#endif
}
INLINE A FN(one)(const T *p) {
    uint32_t u = (uint32_t)*p << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
#else
INLINE V FN(load)(const T *p) { return *(const VU *)p; }
INLINE void FN(store)(T *p, V x) { *(VU *)p = x; }
INLINE A FN(one)(const T *p) { return *p; }
#endif

/* The same for the first n < LANES cells; the rest read as 0. */
INLINE V FN(load_n)(const T *p, int64_t n) {
    T cells[LANES] = {0};
    memcpy(cells, p, (size_t)n * sizeof(T));
    return FN(load)(cells);
}
INLINE void FN(store_n)(T *p, V x, int64_t n) {
    T cells[LANES];
    FN(store)(cells, x);
    memcpy(p, cells, (size_t)n * sizeof(T));
}
INLINE V FN(loada_n)(const A *p, int64_t n) {
    A cells[LANES] = {0};
    memcpy(cells, p, (size_t)n * sizeof(A));
    return FN(loada)(cells);
}
INLINE void FN(storea_n)(A *p, V x, int64_t n) {
    A cells[LANES];
    FN(storea)(cells, x);
    memcpy(p, cells, (size_t)n * sizeof(A));
}

/* Loads and stores that serve whole vectors and the last, shorter one. */
#define LOAD(p, n) ((n) >= LANES ? FN(load)(p) : FN(load_n)(p, n))
#define STORE(p, x, n)                                                                             \
    do {                                                                                           \
        if ((n) >= LANES)                                                                          \
            FN(store)(p, x);                                                                       \
        else                                                                                       \
            FN(store_n)(p, x, n);                                                                  \
    } while (0)
#define LOADA(p, n) ((n) >= LANES ? FN(loada)(p) : FN(loada_n)(p, n))
#define STOREA(p, x, n)                                                                            \
    do {                                                                                           \
        if ((n) >= LANES)                                                                          \
            FN(storea)(p, x);                                                                      \
        else                                                                                       \
            FN(storea_n)(p, x, n);                                                                 \
    } while (0)
#define EACH(i, n) for (int64_t i = 0; i < (n); i += LANES)

/* mask ? a : b, lane by lane. */
INLINE V FN(pick)(I mask, V a, V b) { return (V)((mask & (I)a) | (~mask & (I)b)); }
INLINE V FN(max)(V a, V b) { return FN(pick)(a > b, a, b); }

/* Lanes folded in halves. */
INLINE A FN(sum)(V x) {
    A c[LANES];
    FN(storea)(c, x);
    for (int s = LANES / 2; s > 0; s /= 2)
        for (int i = 0; i < s; i++)
            c[i] += c[i + s];
    return c[0];
}
INLINE A FN(top)(V x) {
    A c[LANES];
    FN(storea)(c, x);
    for (int s = LANES / 2; s > 0; s /= 2)
        for (int i = 0; i < s; i++)
            c[i] = c[i] > c[i + s] ? c[i] : c[i + s];
    return c[0];
}
