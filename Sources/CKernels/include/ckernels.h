/* Keel's compute kernels for the processor.
 *
 * Plain functions: output first, then constant inputs, then sizes; no allocation, no threads, no globals.
 * One source is compiled for every cell type and every instruction set; lanes and orders of summation are
 * the same in all of them, so instruction sets differ only by the rounding of fused multiply-adds.
 *
 * In the comments T is the cell type of the table (f32, f64 or bf16) and A the type sums, statistics and
 * weight gradients have: f64 for f64, else f32. Matrices are row-major. */
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Codes of cell types, as DType orders them. */
enum { CK_F32 = 0, CK_F64 = 1, CK_BF16 = 2, CK_I32 = 3 };
enum { CK_PORTABLE = 0, CK_AVX2 = 1, CK_AVX512 = 2, CK_AVX512_BF16 = 3 };

/* Cells of a distribution that are summed together. */
enum { CK_DRAW_BLOCK = 1024 };

/* Keys and queries an attention kernel works on at once. */
enum { CK_KEY_BLOCK = 64, CK_QUERY_BLOCK = 64 };

/* One head of one packed sequence. Query i (0 ... queries-1) sees the keys of all ranges, taken one after the
 * other, whose number is below total - queries + i + 1, and of those the last `window` (0 = all).
 *
 *     s_ij = scale q_i . k_j      softcap > 0: s = softcap tanh(s / softcap)      o_i = sum_j softmax(s_i)_j v_j
 *
 * `flat`: the queries are heads of one token, and all see what the last query of a sequence does (forward only). */
typedef struct ck_attention {
    const int64_t *ranges; /* first row and number of rows of each range of keys */
    int64_t range_count, total, queries, first; /* `first`: the row of query 0 */
    int64_t dim;                                /* length of a head */
    int64_t q_stride, kv_stride;                /* cells from one row to the next */
    int64_t window, flat;
    double scale, softcap;
} ck_attention;

/* Running state of one row of the LM head over chunks of the vocabulary. */
typedef struct ck_lm_row {
    double max, sum, weighted; /* of the logits; sum of e^(z-max); the same weighted by z */
    double total;              /* sum of z */
    double target, best;       /* logit of the target; the largest so far */
    int32_t best_id, reserved;
} ck_lm_row;

/* What lm_chunk adds up beyond the log-prob: `weighted`, `total`. */
enum { CK_LM_ENTROPY = 1, CK_LM_TOTAL = 2 };

/* What the backward pass of the LM head knows of one row: g = dL/dlogprob, gh = dL/dentropy, gv = dL/d(mean
 * log-prob over the vocabulary) / vocabulary, gsum = g + gv vocabulary; h = entropy, p = the target's probability. */
typedef struct ck_lm_slope {
    double lse, g, h, gh, gv, gsum, p;
} ck_lm_slope;

typedef struct ck_adamw {
    double lr, beta1, beta2, eps, decay; /* decay: decoupled, times lr */
    double correction1, correction2;     /* 1 - beta^step */
    double scale;                        /* the gradient is multiplied by it first */
} ck_adamw;

/* Kernels of one cell type on one instruction set. Pointers named by capital comments: T or A. */
typedef struct ck_table {
    /* y = a + b */
    void (*add)(void *y, const void *a, const void *b, int64_t n);
    /* y = a b */
    void (*multiply)(void *y, const void *a, const void *b, int64_t n);
    /* sum[A] += x[T] */
    void (*accumulate)(void *sum, const void *x, int64_t n);
    /* y = k x */
    void (*scale)(void *y, const void *x, double k, int64_t n);
    /* y = x sigmoid(x) */
    void (*silu)(void *y, const void *x, int64_t n);
    void (*silu_backward)(void *dx, const void *dy, const void *x, int64_t n);
    /* y = silu(gate) up */
    void (*swiglu)(void *y, const void *gate, const void *up, int64_t n);
    void (*swiglu_backward)(void *dgate, void *dup, const void *dy, const void *gate,
                            const void *up, int64_t n);
    /* y = x Phi(x); approximate: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 */
    void (*gelu)(void *y, const void *x, int64_t n, int32_t approximate);
    void (*gelu_backward)(void *dx, const void *dy, const void *x, int64_t n, int32_t approximate);

    /* y = x rstd (offset + w), rstd = 1 / sqrt(mean(x^2) + eps). rstd[A]: (rows) */
    void (*rms_norm)(void *y, void *rstd, const void *x, const void *w, int64_t rows, int64_t cols,
                     double eps, double offset);
    /* dx[T], dw[A] += ; either may be null */
    void (*rms_norm_backward)(void *dx, void *dw, const void *dy, const void *x, const void *w,
                              const void *rstd, int64_t rows, int64_t cols, double offset);
    /* y = (x - mean) rstd w + b; b may be null. mean, rstd[A]: (rows) */
    void (*layer_norm)(void *y, void *mean, void *rstd, const void *x, const void *w, const void *b,
                       int64_t rows, int64_t cols, double eps);
    /* dx[T], dw[A] +=, db[A] +=; each may be null */
    void (*layer_norm_backward)(void *dx, void *dw, void *db, const void *dy, const void *x,
                                const void *w, const void *mean, const void *rstd, int64_t rows,
                                int64_t cols);
    /* Rotates the pairs (j, j + half) of each head by the angle of its position, sign -1: backwards.
     * cos, sin[A]: (positions, half); dimensions from 2 half on are copied. */
    void (*rope)(void *y, const void *x, const int32_t *positions, const void *cos, const void *sin,
                 int64_t rows, int64_t heads, int64_t dim, int64_t half, double sign);
    /* y += b, row by row */
    void (*add_bias)(void *y, const void *b, int64_t rows, int64_t cols);
    /* y[T] = x[A] + b; b may be null */
    void (*store_bias)(void *y, const void *x, const void *b, int64_t rows, int64_t cols);
    /* sum[A] += column sums of x */
    void (*column_sums)(void *sum, const void *x, int64_t rows, int64_t cols);
    /* sum[A] row ids[r] += x row r, for columns begin ..< end */
    void (*scatter_add)(void *sum, const void *x, const int32_t *ids, int64_t rows, int64_t cols,
                        int64_t begin, int64_t end);

    /* Bytes of scratch memory attention needs. */
    int64_t (*attention_scratch)(int64_t dim, int32_t backward);
    /* Queries begin ..< begin + count of the sequence (count <= CK_QUERY_BLOCK). Pointers at the head's first
     * column; lse[A] at the head's first cell: one per row of q, lse_stride apart. */
    void (*attention)(void *out, void *lse, int64_t lse_stride, const void *q, const void *k,
                      const void *v, const ck_attention *a, int64_t begin, int64_t count,
                      void *scratch);
    /* The whole sequence; dq[T] =, dk, dv[A] +=, laid out like q, k, v. */
    void (*attention_backward)(void *dq, void *dk, void *dv, const void *dout, const void *out,
                               const void *lse, int64_t lse_stride, const void *q, const void *k,
                               const void *v, const ck_attention *a, void *scratch);

    /* Takes logits[A] (rows, cols) of vocabulary entries `first` ... into the rows' state.
     * z = softcap tanh(logit / softcap) / temperature (softcap 0: none). wants: CK_LM_ENTROPY ...
     * tops[A] = the largest z of each row so far, exps[T] (rows, cols) = e^(z - tops); both may be null. */
    void (*lm_chunk)(ck_lm_row *state, const void *logits, const int32_t *targets, int64_t rows,
                     int64_t cols, int64_t first, double temperature, double softcap, int32_t wants,
                     void *tops, void *exps);
    /* d[T] = dL/dlogit for the same chunk from logits[A]. */
    void (*lm_chunk_backward)(void *d, const void *logits, const int32_t *targets,
                              const ck_lm_slope *slopes, int64_t rows, int64_t cols, int64_t first,
                              double temperature, double softcap);
    /* lm_chunk's exps once more, without softcap: the same bits. */
    void (*lm_exps)(void *exps, const void *tops, const void *logits, int64_t rows, int64_t cols,
                    double temperature);
    /* dL/dlogit in place of exps, without softcap and where gh = 0. */
    void (*lm_exps_backward)(void *exps, const void *tops, const int32_t *targets,
                             const ck_lm_slope *slopes, int64_t rows, int64_t cols, int64_t first,
                             double temperature);

    /* The largest of x[A]; NaN when one is. */
    double (*largest)(const void *x, int64_t n);
    /* e[A] = e^(x[A] - top); e may be null. Returns the sum, in f64 over pieces of CK_DRAW_BLOCK cells. */
    double (*exps)(void *e, const void *x, int64_t n, double top);

    /* c[A] (m, n) = or += a b, cells at a[i ars + p acs], b[p brs + j bcs] (T): plain, for the types oneDNN lacks. */
    void (*gemm)(void *c, int64_t ldc, const void *a, int64_t ars, int64_t acs, const void *b,
                 int64_t brs, int64_t bcs, int64_t m, int64_t n, int64_t k, int32_t accumulate);

    /* One AdamW step; master, grad, m, v[A]; low[T] = the new master, may be null. */
    void (*adamw)(void *master, void *m, void *v, void *low, const void *grad, int64_t n,
                  const ck_adamw *p);
    /* Sum of squares of x[A], lanes in a fixed order, in f64. */
    double (*squared_norm)(const void *x, int64_t n);
} ck_table;

/* The widest instruction set of this machine. CK_AVX512_BF16: AVX-512 with dot products of bf16 pairs, which the
 * kernels of bf16 use. */
int32_t ck_best_isa(void);

/* The kernels for a cell type (CK_F32, CK_F64, CK_BF16); `isa` must not be above ck_best_isa(). */
const ck_table *ck_kernels(int32_t isa, int32_t type);

/* Columns of a packed panel. */
enum { CK_PANEL = 64 };

/* Whether products on packed operands (below) are the fastest there are for cells of `type`. Those of bf16 want
 * an even k. */
int32_t ck_has_products(int32_t isa, int32_t type);
/* Bytes of a packed (k, n) matrix. */
int64_t ck_packed_bytes(int64_t n, int64_t k, int32_t type);
/* Packs panels begin ..< end of b (k, n): cells at b[p stride + j], transposed: at b[j stride + p]. */
void ck_pack(void *to, const void *b, int64_t stride, int32_t transposed, int64_t n, int64_t k,
             int64_t begin, int64_t end, int32_t type);
/* What a product can have added to it. */
enum { CK_ADDENDS = 2 };
/* c (m, n) = or (f32 alone) += a b for the columns of panels begin ..< end; a (m, k), k dense. The addends (null
 * where there is none) have the type and row stride of c and other memory; they are added in order, in f32, before
 * a cell is rounded. */
void ck_packed_product(void *c, int64_t ldc, int32_t c_type, const void *a, int64_t lda,
                       const void *packed, int64_t m, int64_t n, int64_t k, int64_t begin,
                       int64_t end, int32_t type, int32_t accumulate,
                       const void *const addends[CK_ADDENDS]);
/* Columns of a packed left factor that stand together. */
enum { CK_GROUP = 16 };
/* Packs groups begin ..< end of the columns of a (k, m), bf16, as a left factor: a packed (k, m) matrix. */
void ck_pack_left(void *to, const uint16_t *a, int64_t stride, int64_t m, int64_t k, int64_t begin,
                  int64_t end);
/* c (m, n) += a^T b for some groups of the rows of c and some panels of its columns, first ..< end each: a (k, m)
 * packed as a left factor, b (k, n) packed, not transposed; both bf16. */
void ck_packed_gradient(float *c, int64_t ldc, const void *a, const void *b, int64_t m, int64_t n,
                        int64_t k, const int64_t groups[2], const int64_t panels[2]);
/* y = x, n cells, rounded to nearest even. Codes of types as above. */
void ck_convert(void *y, int32_t y_type, const void *x, int32_t x_type, int64_t n);

/* y row r = x row ids[r]; rows of `bytes` bytes. */
void ck_gather_rows(void *y, const void *x, const int32_t *ids, int64_t rows, int64_t bytes);

#endif
