/* The kernels for any processor. */
#include "bodies/types.h"

#define CK_ISA portable
#define CK_WIDTH 128
#define CK_TYPE 0
#include "bodies/all.h"
#undef CK_TYPE
#define CK_TYPE 1
#include "bodies/all.h"
#undef CK_TYPE
#define CK_TYPE 2
#include "bodies/all.h"
#undef CK_TYPE

const ck_table *const ck_tables_portable[3] = {&ck_table_f32_portable, &ck_table_f64_portable,
                                               &ck_table_bf16_portable};
