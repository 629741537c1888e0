#include "ckernels.h"

#include <string.h>

int32_t ck_best_isa(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return __builtin_cpu_supports("avx512bf16") ? CK_AVX512_BF16 : CK_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return CK_AVX2;
#endif
    return CK_PORTABLE;
}

extern const ck_table *const ck_tables_portable[3];
#if defined(__x86_64__)
extern const ck_table *const ck_tables_avx2[3];
extern const ck_table *const ck_tables_avx512[3];
extern const ck_table ck_table_bf16_avx512bf16;
#endif

const ck_table *ck_kernels(int32_t isa, int32_t type) {
#if defined(__x86_64__)
    if (isa == CK_AVX512_BF16 && type == CK_BF16)
        return &ck_table_bf16_avx512bf16;
    if (isa >= CK_AVX512)
        return ck_tables_avx512[type];
    if (isa == CK_AVX2)
        return ck_tables_avx2[type];
#endif
    (void)isa;
    return ck_tables_portable[type];
}

void ck_gather_rows(void *y, const void *x, const int32_t *ids, int64_t rows, int64_t bytes) {
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)y + r * bytes, (const char *)x + ids[r] * bytes, (size_t)bytes);
}
