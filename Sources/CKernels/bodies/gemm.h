/* Small matrix products inside other kernels, in A. */

/* Rows and vectors of a register tile: what the registers of each instruction set hold. */
#undef MR
#undef NR
#if CK_WIDTH == 512
#define MR 6
#define NR 4
#elif CK_WIDTH == 256
#define MR 3
#define NR 2
#else
#define MR 2
#define NR 1
#endif

#define MM_TILE(rows, vecs)                                                                        \
    do {                                                                                           \
        V s[rows][vecs];                                                                           \
        for (int r = 0; r < rows; r++)                                                             \
            for (int w = 0; w < vecs; w++)                                                         \
                s[r][w] = FN(loada)(c + (i + r) * ldc + (j + w) * LANES);                          \
        for (int64_t p = 0; p < k; p++) {                                                          \
            V bv[vecs];                                                                            \
            for (int w = 0; w < vecs; w++)                                                         \
                bv[w] = FN(loada)(b + p * ldb + (j + w) * LANES);                                  \
            for (int r = 0; r < rows; r++) {                                                       \
                V av = FN(splat)(a[(i + r) * ars + p * acs]);                                      \
                for (int w = 0; w < vecs; w++)                                                     \
                    s[r][w] += av * bv[w];                                                         \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < rows; r++)                                                             \
            for (int w = 0; w < vecs; w++)                                                         \
                FN(storea)(c + (i + r) * ldc + (j + w) * LANES, s[r][w]);                          \
    } while (0)

/* c (m, n vectors) += a b, cells at a[i ars + p acs]; each cell is summed over p in order. */
static __attribute__((noinline)) void FN(mm)(A *c, int64_t ldc, const A *a, int64_t ars,
                                             int64_t acs, const A *b, int64_t ldb, int64_t m,
                                             int64_t n, int64_t k) {
    int64_t j = 0;
    for (; j + NR <= n; j += NR) {
        int64_t i = 0;
        for (; i + MR <= m; i += MR)
            MM_TILE(MR, NR);
        for (; i < m; i++)
            MM_TILE(1, NR);
    }
    for (; j < n; j++) {
        int64_t i = 0;
        for (; i + MR <= m; i += MR)
            MM_TILE(MR, 1);
        for (; i < m; i++)
            MM_TILE(1, 1);
    }
}

static void FN(gemm)(void *cv, int64_t ldc, const void *av, int64_t ars, int64_t acs,
                     const void *bv, int64_t brs, int64_t bcs, int64_t m, int64_t n, int64_t k,
                     int32_t accumulate) {
    A *c = (A *)cv;
    const T *a = (const T *)av, *b = (const T *)bv;
    for (int64_t i = 0; i < m; i++) {
        A *row = c + i * ldc;
        if (!accumulate)
            memset(row, 0, (size_t)n * sizeof(A));
        if (bcs == 1) {
            for (int64_t p = 0; p < k; p++) {
                A x = FN(one)(a + i * ars + p * acs);
                EACH(j, n)
                STOREA(row + j, LOADA(row + j, n - j) + x * LOAD(b + p * brs + j, n - j), n - j);
            }
        } else {
            for (int64_t j = 0; j < n; j++) {
                A s = 0;
                for (int64_t p = 0; p < k; p++)
                    s += FN(one)(a + i * ars + p * acs) * FN(one)(b + p * brs + j * bcs);
                row[j] += s;
            }
        }
    }
}
