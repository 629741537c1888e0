/* Every kernel for the cell type CK_TYPE. */
#include "vec.h"
#include "functions.h"
#include "elementwise.h"
#include "norm.h"
#include "gemm.h"
#include "attention.h"
#ifdef CK_DOTS
#include "attention_dots.h"
#endif
#include "lm_head.h"
#include "adamw.h"
#include "draw.h"
#include "table.h"
