/* The kernels of bf16 for processors that have AVX-512 with dot products of bf16 pairs. */
#include "bodies/types.h"

#if defined(__x86_64__)
#include "bodies/lanes.h"

#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma"))),             \
    apply_to = function)
#define CK_ISA avx512bf16
#define CK_WIDTH 512
#define CK_TYPE 2
#define CK_DOTS
#include "bodies/all.h"
#pragma clang attribute pop

#endif
