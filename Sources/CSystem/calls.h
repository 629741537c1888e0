/* The table of callbacks, for this module alone. */
#ifndef CSYSTEM_CALLS_H
#define CSYSTEM_CALLS_H
#include "csystem.h"
#include <stdatomic.h>

struct place {
    atomic_bool is_taken;
    atomic_uint_fast64_t entry; /* 0: no callback; written last, so that the rest belongs to it */
    _Atomic(const char *) component;
    _Atomic(const char *) path;
    _Atomic(const char *) callback;
    _Atomic(int64_t) step;
    _Atomic(const void *) thread;
};

extern struct place cs_table[CS_PLACES];

/* A name of the calling thread. */
const void *cs_thread(void);
#endif
