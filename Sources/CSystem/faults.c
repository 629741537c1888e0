/* A process that dies of a fault says which component was at work. Only async-signal-safe functions are used. */
#define _GNU_SOURCE
#include "calls.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
enum { COUNT = sizeof numbers / sizeof *numbers };
static struct sigaction before[COUNT];
static atomic_flag is_dying = ATOMIC_FLAG_INIT;
/* Two texts, so that one is whole while the other is written. */
static char advice[2][1024];
static atomic_int current = 0;
/* A stack of the handler's own: the thread's may have overflowed. */
static char stack[64 * 1024];

/* A line under construction. */
struct text {
    char bytes[4096];
    size_t n;
};

static void add(struct text *t, const char *s) {
    for (; s && *s && t->n < sizeof t->bytes; s++)
        t->bytes[t->n++] = *s;
}

static void add_number(struct text *t, int64_t number) {
    char digits[24];
    int at = sizeof digits;
    digits[--at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number && at);
    add(t, digits + at);
}

static const char *words(int number) {
    switch (number) {
    case SIGSEGV:
        return "segmentation fault";
    case SIGBUS:
        return "bus error";
    case SIGILL:
        return "illegal instruction";
    case SIGFPE:
        return "arithmetic fault";
    default:
        return "abort";
    }
}

/* The callback that this thread is in, else the one that any thread is in. */
static bool find(cs_call *found, bool *is_own) {
    cs_call call;
    found->entry = 0;
    *is_own = false;
    for (int at = 0; at < CS_PLACES; at++) {
        if (!cs_look(at, &call))
            continue;
        bool own = atomic_load(&cs_table[at].thread) == cs_thread();
        if (found->entry && (*is_own > own || (*is_own == own && found->entry > call.entry)))
            continue;
        *found = call;
        *is_own = own;
    }
    return found->entry != 0;
}

static void describe(int number, struct text *t) {
    cs_call call;
    bool is_own;
    bool is_known = find(&call, &is_own);
    add(t, is_known ? "error[plugin]: " : "error[keel]: ");
    add(t, is_known ? call.component : "the process");
    add(t, is_known && !is_own ? ": a thread was killed by signal " : ": killed by signal ");
    add_number(t, number);
    add(t, " (");
    add(t, words(number));
    add(t, ")");
    if (is_known) {
        add(t, "\n  at:  ");
        add(t, call.path);
        add(t, ", ");
        add(t, call.callback);
        if (call.step >= 0) {
            add(t, ", step ");
            add_number(t, call.step);
        }
    } else {
        add(t, ", no component was in a callback");
    }
    const char *note = advice[atomic_load(&current)];
    if (*note) {
        add(t, "\n  fix: ");
        add(t, note);
    }
    add(t, "\n");
}

static void die(int number) {
    if (!atomic_flag_test_and_set(&is_dying)) {
        static struct text t;
        describe(number, &t);
        for (size_t at = 0; at < t.n;) {
            ssize_t sent = write(STDERR_FILENO, t.bytes + at, t.n - at);
            if (sent <= 0)
                break;
            at += (size_t)sent;
        }
    }
    /* What would have happened: pending until this returns. */
    for (int i = 0; i < COUNT; i++)
        if (numbers[i] == number)
            sigaction(number, &before[i], 0);
    raise(number);
}

void cs_name_faults(void) {
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, 0);
    struct sigaction action = {.sa_handler = die, .sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < COUNT; i++)
        sigaction(numbers[i], &action, &before[i]);
}

void cs_set_advice(const char *text) {
    int next = 1 - atomic_load(&current);
    strncpy(advice[next], text, sizeof advice[next] - 1);
    atomic_store(&current, next);
}
