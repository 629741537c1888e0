/* Keel's compute kernels for the processor.
 *
 * Plain functions: output first, then constant inputs, then sizes; no allocation, no threads, no globals.
 * The same source is compiled for every instruction set; lanes and orders of summation are the same in all
 * of them, so results differ only by the rounding of fused multiply-adds. */
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Codes of cell types, as DType orders them. */
enum { CK_F32 = 0, CK_F64 = 1, CK_BF16 = 2, CK_I32 = 3 };
enum { CK_PORTABLE = 0, CK_AVX2 = 1, CK_AVX512 = 2 };

/* The widest instruction set of this machine: CK_PORTABLE, CK_AVX2 or CK_AVX512. */
int32_t ck_best_isa(void);

/* y = x, n cells, rounded to nearest even. Codes of types as above. */
void ck_convert(void *y, int32_t y_type, const void *x, int32_t x_type, int64_t n);

#endif
