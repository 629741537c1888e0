#include "keel.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A reward that does to its process what a row's response says, and else gives the response's length. */

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, 0);
}

static void *volatile eaten;

/* What happens once per file `once` only. */
static int first_time(keel_call *c) {
    keel_str path = keel_string(c, "once");
    if (path.n == 0 || access(path.p, F_OK) == 0)
        return 0;
    FILE *f = fopen(path.p, "w");
    if (f)
        fclose(f);
    return 1;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    if (keel_num(c, "fill") != 0)
        for (size_t i = 0; i < n; i++)
            out[i] = 0;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (keel_is(text, "segv"))
            raise(SIGSEGV);
        if (keel_is(text, "abort"))
            abort();
        if (keel_is(text, "exit"))
            exit(3);
        if (keel_is(text, "hang"))
            for (;;)
                pause();
        if (keel_is(text, "spin"))
            for (volatile int x = 0;; x++)
                ;
        if (keel_is(text, "beside"))
            out[n + 3] = 1;
        if (keel_is(text, "before"))
            out[-2] = 1;
        if (keel_is(text, "infinite")) {
            out[i] = 1.0f / 0.0f;
            continue;
        }
        if (keel_is(text, "fail"))
            return keel_fail(c, KEEL_E_INVALID, "I will not");
        if (keel_is(text, "once") && first_time(c))
            raise(SIGSEGV);
        if (keel_is(text, "eat"))
            for (;;)
                eaten = memset(malloc(1 << 20), 1, 1 << 20);
        if (keel_is(text, "say")) {
            printf("to stdout\n");
            fprintf(stderr, "to stderr\n");
            raise(SIGABRT);
        }
        if (keel_is(text, "babble"))
            for (;;)
                printf("and so on and on and on\n");
        if (keel_is(text, "children")) {
            for (int k = 0; k < 3; k++)
                if (fork() == 0) {
                    keel_str path = keel_string(c, "once");
                    sleep_ms(700);
                    fclose(fopen(path.p, "w"));
                    _exit(0);
                }
            raise(SIGSEGV);
        }
        if (keel_is(text, "orphan") && fork() == 0)
            for (;;)
                pause();
        if (keel_is(text, "orphan"))
            exit(0);
        if (keel_is(text, "input"))
            *(char *)(uintptr_t)text.p = 'x';
        if (keel_is(text, "slow"))
            sleep_ms(60);
        if (keel_is(text, "cancel"))
            while (!keel_cancelled(c))
                sleep_ms(5);
        if (keel_is(text, "empty"))
            continue;
        out[i] = (float)text.n + (float)keel_uniform(c, i, 1);
    }
    return KEEL_OK;
}
static const keel_component mischief = KEEL_REWARD(
        .name = "mischief", .help = "does as told",
        KEEL_PARAMS(KEEL_PARAM_STR("once", "", "a file that tells the first time"),
                    KEEL_PARAM_BOOL("fill", 0, "zeros first")),
        .score = score);

/* The same, rows of a group together: a group with the text "segv" in it crashes. */
static keel_status coupled_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    keel_array group;
    keel_column(c, "group", &group);
    const int32_t *g = keel_i32(&group);
    for (size_t i = 0; i < n; i++) {
        size_t size = 0;
        for (size_t k = 0; k < n; k++)
            size += g[k] == g[i];
        if (keel_is(keel_text(c, "response", i), "segv"))
            raise(SIGSEGV);
        out[i] = (float)size;
    }
    return KEEL_OK;
}
static const keel_component coupled = KEEL_REWARD(.name = "coupled", .help = "the group's size",
                                                  .flags = KEEL_COUPLED, .score = coupled_score);

/* A running sum of lengths, which is its state; `big` bytes of padding go with it. After a row "mark" its save does what
   the parameter `save` says: for ever, or once per file `once`. */
static int is_marked;
static void *sum_create(keel_call *c) {
    if (keel_num(c, "refuse") != 0)
        keel_fail(c, KEEL_E_INVALID, "refuse is on");
    if (keel_num(c, "refuse") == 2)
        raise(SIGSEGV);
    return calloc(1, sizeof(double));
}
static void sum_destroy(void *self) { free(self); }
static keel_status sum_save(void *self, keel_call *c) {
    keel_str misdeed = keel_string(c, "save");
    if (is_marked && misdeed.n > 0 && (keel_string(c, "once").n == 0 || first_time(c))) {
        if (keel_is(misdeed, "fail"))
            return keel_fail(c, KEEL_E_INVALID, "I will not");
        if (keel_is(misdeed, "segv"))
            raise(SIGSEGV);
        for (;;)
            pause();
    }
    keel_write(c, self, sizeof(double));
    for (double k = 0; k < keel_num(c, "big"); k++)
        keel_write(c, "x", 1);
    return KEEL_OK;
}
static keel_status sum_load(void *self, keel_call *c, uint32_t version, const void *bytes,
                            size_t n) {
    if (version != 5 || n < sizeof(double))
        return keel_fail(c, KEEL_E_STATE, "not a state of mine");
    memcpy(self, bytes, sizeof(double));
    return KEEL_OK;
}
static keel_status sum_score(void *self, keel_call *c, size_t n, float *out) {
    double *sum = self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (keel_is(text, "once") && first_time(c))
            raise(SIGSEGV);
        if (keel_is(text, "mark"))
            is_marked = 1;
        *sum += (double)text.n;
        out[i] = (float)*sum;
    }
    return KEEL_OK;
}
static const keel_component sum = KEEL_REWARD(
        .name = "sum", .help = "a running sum",
        KEEL_PARAMS(KEEL_PARAM_STR("once", "", "a file that tells the first time"),
                    KEEL_PARAM_STR("save", "", "what save does after a marked row"),
                    KEEL_PARAM_I64("big", 0, 0, 1e8, "bytes of padding"),
                    KEEL_PARAM_I64("refuse", 0, 0, 2, "create refuses, or crashes")),
        .state_version = 5, .create = sum_create, .destroy = sum_destroy, .save = sum_save,
        .load = sum_load, .score = sum_score);

/* A question for the judge, and its answer's length. */
static keel_status judge_ask(void *self, keel_call *c, size_t n) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (keel_is(text, "segv"))
            raise(SIGSEGV);
        if (text.n > 0)
            keel_put_text(c, "ask", i, text.p, text.n);
    }
    return KEEL_OK;
}
static keel_status judge_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str reply = keel_text(c, "reply", i);
        if (reply.p)
            out[i] = (float)reply.n;
    }
    return KEEL_OK;
}
static const keel_component judge = KEEL_REWARD(.name = "asker", .help = "asks", .ask = judge_ask,
                                                .score = judge_score);

KEEL_PLUGIN("org.example.mischief", "1.0.0", &mischief, &coupled, &sum, &judge)
