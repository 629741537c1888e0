/* The part of libFuzzer's interface that keel-fuzz uses; the library comes with the compiler. */
#ifndef KEEL_FUZZER_H
#define KEEL_FUZZER_H
#include <stddef.h>
#include <stdint.h>

/* Calls `input` with mutations of the corpus until the arguments say that it is enough. */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*input)(const uint8_t *bytes, size_t count));
#endif
