/* The kernels for processors with avx512. */
#include "bodies/types.h"

#if defined(__x86_64__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#define CK_ISA avx512
#define CK_WIDTH 512
#define CK_TYPE 0
#include "bodies/all.h"
#undef CK_TYPE
#define CK_TYPE 1
#include "bodies/all.h"
#undef CK_TYPE
#define CK_TYPE 2
#include "bodies/all.h"
#undef CK_TYPE
#pragma clang attribute pop

const ck_table *const ck_tables_avx512[3] = {&ck_table_f32_avx512, &ck_table_f64_avx512,
                                             &ck_table_bf16_avx512};
#endif
