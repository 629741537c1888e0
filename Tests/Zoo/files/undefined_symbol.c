/* Calls a function that no library has. */
#include "../zoo.h"
extern float zoo_function_of_nobody(size_t bytes);
static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = zoo_function_of_nobody(keel_text(c, "response", i).n);
    return KEEL_OK;
}
ZOO_REWARD(undefined_symbol, "Calls a function of nobody.", .score = score);
KEEL_PLUGIN("org.example.zoo.undefined_symbol", "1.0.0", &undefined_symbol_component)
