/* What every build of the kernels shares. */
#include "ckernels.h"

/* Vector helpers are always inlined: how they would be passed in registers never matters. */
#pragma clang diagnostic ignored "-Wpsabi"

#include <math.h>
#include <string.h>

#define CK_JOIN_(name, type, isa) ck_##name##_##type##_##isa
#define CK_JOIN(name, type, isa) CK_JOIN_(name, type, isa)

typedef float ck_vf __attribute__((vector_size(64)));
typedef float ck_vfu __attribute__((vector_size(64), aligned(4), may_alias));
typedef double ck_vd __attribute__((vector_size(128)));
typedef double ck_vdu __attribute__((vector_size(128), aligned(8), may_alias));
typedef int32_t ck_vi __attribute__((vector_size(64)));
typedef uint32_t ck_vu __attribute__((vector_size(64)));
typedef int64_t ck_vl __attribute__((vector_size(128)));
typedef uint16_t ck_vs __attribute__((vector_size(32)));
typedef uint16_t ck_vsu __attribute__((vector_size(32), aligned(2), may_alias));
