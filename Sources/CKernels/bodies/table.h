/* Linkage of the table, and which attention it has. */
#undef LINKAGE
#undef ATTENTION
#ifdef CK_DOTS
#define LINKAGE
#define ATTENTION(name) FN(name##_dots)
extern const ck_table FN(table);
#else
#define LINKAGE static
#define ATTENTION(name) FN(name)
#endif

LINKAGE const ck_table FN(table) = {
    .add = FN(add),
    .multiply = FN(multiply),
    .accumulate = FN(accumulate),
    .scale = FN(scale),
    .silu = FN(silu),
    .silu_backward = FN(silu_backward),
    .swiglu = FN(swiglu),
    .swiglu_backward = FN(swiglu_backward),
    .gelu = FN(gelu),
    .gelu_backward = FN(gelu_backward),
    .rms_norm = FN(rms_norm),
    .rms_norm_backward = FN(rms_norm_backward),
    .layer_norm = FN(layer_norm),
    .layer_norm_backward = FN(layer_norm_backward),
    .rope = FN(rope),
    .add_bias = FN(add_bias),
    .store_bias = FN(store_bias),
    .column_sums = FN(column_sums),
    .scatter_add = FN(scatter_add),
    .attention_scratch = ATTENTION(attention_scratch),
    .attention = ATTENTION(attention),
    .attention_backward = ATTENTION(attention_backward),
    .lm_chunk = FN(lm_chunk),
    .lm_chunk_backward = FN(lm_chunk_backward),
    .lm_exps = FN(lm_exps),
    .lm_exps_backward = FN(lm_exps_backward),
    .largest = FN(largest),
    .exps = FN(exps),
    .gemm = FN(gemm),
    .adamw = FN(adamw),
    .squared_norm = FN(squared_norm),
};
