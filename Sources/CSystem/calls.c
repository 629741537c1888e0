/* A table of the callbacks under way: written by the threads that make them, read by a watchdog and a signal handler. */
#include "calls.h"

struct place cs_table[CS_PLACES];
static atomic_uint_fast64_t entries = 0;
/* The place this thread had last; its address is the thread's name. */
static _Thread_local int last = 0;

const void *cs_thread(void) { return &last; }

int cs_enter(const char *component, const char *path, const char *callback, int64_t step) {
    for (int tried = 0; tried < CS_PLACES; tried++) {
        int at = (last + tried) % CS_PLACES;
        struct place *p = &cs_table[at];
        bool free = false;
        if (!atomic_compare_exchange_strong_explicit(&p->is_taken, &free, true,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        last = at;
        atomic_store_explicit(&p->component, component, memory_order_relaxed);
        atomic_store_explicit(&p->path, path, memory_order_relaxed);
        atomic_store_explicit(&p->callback, callback, memory_order_relaxed);
        atomic_store_explicit(&p->step, step, memory_order_relaxed);
        atomic_store_explicit(&p->thread, cs_thread(), memory_order_relaxed);
        atomic_store(&p->entry, 1 + atomic_fetch_add(&entries, 1));
        return at;
    }
    return -1;
}

void cs_leave(int at) {
    if (at < 0)
        return;
    atomic_store(&cs_table[at].entry, 0);
    atomic_store_explicit(&cs_table[at].is_taken, false, memory_order_release);
}

bool cs_look(int at, cs_call *call) {
    struct place *p = &cs_table[at];
    call->entry = atomic_load(&p->entry);
    if (!call->entry)
        return false;
    call->component = atomic_load_explicit(&p->component, memory_order_relaxed);
    call->path = atomic_load_explicit(&p->path, memory_order_relaxed);
    call->callback = atomic_load_explicit(&p->callback, memory_order_relaxed);
    call->step = atomic_load_explicit(&p->step, memory_order_relaxed);
    /* A callback that ended meanwhile, and another that began, must not be mixed. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&p->entry) == call->entry;
}
