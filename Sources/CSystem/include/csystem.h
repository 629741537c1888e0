/* What the operating system offers and Swift cannot say: system calls without a Swift name, and code that runs inside
 * a signal handler. */
#ifndef CSYSTEM_H
#define CSYSTEM_H
#include <stdbool.h>
#include <stdint.h>

/* Swaps two paths in one step; -1 with errno where the file system cannot. */
int cs_exchange(const char *one, const char *other);

/* ---- which component is in which callback, as other threads and a dying process see it */

/* A callback under way. */
typedef struct cs_call {
    uint64_t entry; /* one number per callback entered: the same number is the same callback */
    const char *component; /* objective "dpo" */
    const char *path;      /* its file */
    const char *callback;  /* loss */
    int64_t step;          /* -1: of no step */
} cs_call;

/* Callbacks that can be noted at once; more are not seen. */
enum { CS_PLACES = 64 };

/* Notes that the calling thread enters a callback; the texts must live as long as the process. Gives the place to leave,
 * -1 when all are taken. */
int cs_enter(const char *component, const char *path, const char *callback, int64_t step);

/* Notes that the callback has returned. Sequentially consistent: whoever sees it still entered is seen by the code after. */
void cs_leave(int place);

/* What is at a place; false when nothing is. */
bool cs_look(int place, cs_call *call);

/* From now on a signal that ends the process by a fault (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) first names the
 * component at work on stderr. The process then dies of the signal as it would have. Call once, on the thread whose stack
 * may overflow. */
void cs_name_faults(void);

/* What a dying process advises, such as the checkpoint to go on from; copied, at most 1023 bytes. One thread at a time. */
void cs_set_advice(const char *text);

/* Whether the processor has instructions for SHA-256. */
int32_t cs_sha256_is_fast(void);

/* Takes blocks of 64 bytes into the eight words of a SHA-256 state, by those instructions; `constants` are the 64 of the
 * rounds. */
void cs_sha256_blocks(uint32_t *state, const uint32_t *constants, const void *bytes,
                      int64_t blocks);

/* The same for two states at once, from as many blocks each, in little more than half the time. */
void cs_sha256_blocks2(uint32_t *state, uint32_t *state2, const uint32_t *constants,
                       const void *bytes, const void *bytes2, int64_t blocks);

/* Tells the processor that this thread is waiting in a loop. */
static inline void cs_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
