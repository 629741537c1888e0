#include <dnnl.h>

/* Exported by the library beside dnnl_sgemm, but missing from its header. Row-major; c = alpha op(a) op(b) + beta c. */
#ifdef __cplusplus
extern "C"
#endif
    dnnl_status_t
    dnnl_gemm_bf16bf16f32(char transa, char transb, dnnl_dim_t m, dnnl_dim_t n, dnnl_dim_t k,
                          float alpha, const uint16_t *a, dnnl_dim_t lda, const uint16_t *b,
                          dnnl_dim_t ldb, float beta, float *c, dnnl_dim_t ldc);
