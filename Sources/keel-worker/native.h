/* native.h - any C function of any shared library as a reward. */
#ifndef KEEL_NATIVE_H
#define KEEL_NATIVE_H
#include "keel.h"

/* What is called, and how. `signature` has one line for the result and one for each argument, "f64" and
 * "str field:/reference", as KeelBridge/NativeSignature.swift writes them. */
typedef struct native_function {
    const char *library, *symbol, *signature;
} native_function;

/* Makes a component of a function; `f` must outlive its instances. */
void native_component(const native_function *f, keel_component *out);

/* Its callbacks; `user` is the native_function. */
void *native_create(keel_call *c);
void native_destroy(void *self);
keel_status native_score(void *self, keel_call *c, size_t n, float *out);

#endif
