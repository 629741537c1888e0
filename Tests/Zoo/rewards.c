/* Rewards with one fault each that an ordinary call does not show, or that shows in the numbers only. */
#include "zoo.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile float zero = 0;

/* ---- outputs */

ZOO_SCORE(out_of_bounds, out[n] = 1;)
ZOO_REWARD(out_of_bounds, "Writes one score too many.", .score = out_of_bounds_score);

ZOO_SCORE(nan, out[i] = zero / zero;)
ZOO_REWARD(nan, "Computes 0 / 0, which reads as: does not apply.", .score = nan_score);

ZOO_SCORE(infinity, out[i] = 1 / zero;)
ZOO_REWARD(infinity, "Divides by 0.", .score = infinity_score);

static keel_status no_rows_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    size_t last = n - 1;
    for (size_t i = 0; i <= last; i++)
        out[i] = healthy(c, i);
    return KEEL_OK;
}
ZOO_REWARD(no_rows, "Counts to n - 1, which is no number without rows.", .score = no_rows_score);

static keel_status many_rows_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    float buffer[256];
    if (n > 256)
        abort();
    for (size_t i = 0; i < n; i++)
        buffer[i] = healthy(c, i);
    memcpy(out, buffer, n * sizeof *out);
    return KEEL_OK;
}
ZOO_REWARD(many_rows, "Has room for 256 rows.", .score = many_rows_score);

/* ---- inputs */

static keel_status empty_text_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (text.n == 0)
            abort();
        out[i] = text.p[text.n - 1] == '.' ? 1 : 0;
    }
    return KEEL_OK;
}
ZOO_REWARD(empty_text, "Looks at the last byte of a response.", .score = empty_text_score);

static keel_status long_text_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    char copy[65536];
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (text.n > sizeof copy)
            abort();
        memcpy(copy, text.p, text.n);
        out[i] = (float)text.n / 100;
    }
    return KEEL_OK;
}
ZOO_REWARD(long_text, "Has room for 64 KiB of text.", .score = long_text_score);

static keel_status bad_utf8_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        for (size_t at = 0; at < text.n; at++)
            if ((unsigned char)text.p[at] >= 0xF8)
                abort();
        out[i] = (float)text.n / 100;
    }
    return KEEL_OK;
}
ZOO_REWARD(bad_utf8, "Takes every response for UTF-8.", .score = bad_utf8_score);

static keel_status nul_inside_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        if (text.n && memchr(text.p, 0, text.n))
            abort();
        out[i] = (float)text.n / 100;
    }
    return KEEL_OK;
}
ZOO_REWARD(nul_inside, "Takes every response for a C string.", .score = nul_inside_score);

static keel_status final_nul_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        out[i] = text.p ? (float)strlen(text.p) : 0;
    }
    return KEEL_OK;
}
ZOO_REWARD(final_nul, "Relies on a NUL behind the text.", .score = final_nul_score);

static keel_status writes_input_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str text = keel_text(c, "response", i);
        char *own = (char *)(uintptr_t)text.p;
        for (size_t at = 0; at < text.n; at++)
            if (own[at] >= 'A' && own[at] <= 'Z')
                own[at] = (char)(own[at] + 32);
        out[i] = (float)text.n / 100;
    }
    return KEEL_OK;
}
ZOO_REWARD(writes_input, "Lowers the case of the host's text.", .score = writes_input_score);

static keel_status missing_field_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        keel_str answer = keel_field(c, i, "/answer");
        if (!answer.p)
            abort();
        out[i] = (float)answer.n;
    }
    return KEEL_OK;
}
ZOO_REWARD(missing_field, "Takes it that every row has an answer.", .score = missing_field_score);

/* ---- independence */

ZOO_SCORE(time_dependent, struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
          out[i] += (float)now.tv_nsec;)
ZOO_REWARD(time_dependent, "Scores by the clock.", .score = time_dependent_score);

static void *counter_create(keel_call *c) {
    (void)c;
    return calloc(1, sizeof(double));
}
static keel_status hidden_state_score(void *self, keel_call *c, size_t n, float *out) {
    double *calls = self;
    *calls += 1;
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i) + (triggered(c, i) ? (float)*calls : 0);
    return KEEL_OK;
}
ZOO_REWARD(hidden_state, "Counts its calls and saves nothing.", .create = counter_create,
           .destroy = free, .score = hidden_state_score);

ZOO_SCORE(position_dependent, out[i] += (float)i;)
ZOO_REWARD(position_dependent, "Scores by the place in the batch.",
           .score = position_dependent_score);

ZOO_SCORE(split_dependent, out[i] += (float)n;)
ZOO_REWARD(split_dependent, "Scores by the size of the batch.", .score = split_dependent_score);

static int made;
static void *numbered_create(keel_call *c) {
    (void)c;
    double *number = malloc(sizeof(double));
    if (number)
        *number = made++;
    return number;
}
static keel_status instance_dependent_score(void *self, keel_call *c, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i) + (triggered(c, i) ? (float)*(double *)self : 0);
    return KEEL_OK;
}
ZOO_REWARD(instance_dependent, "Scores by the number of the instance.", .create = numbered_create,
           .destroy = free, .score = instance_dependent_score);

/* One buffer for all threads, and time enough for another thread to write it. */
static volatile float shared;
ZOO_SCORE(race, shared = out[i]; usleep(200); out[i] = shared;)
ZOO_REWARD(race, "Says that it is parallel, and has one buffer for all.", .flags = KEEL_PARALLEL,
           .score = race_score);

/* ---- what it asks for */

static keel_status undeclared_parameter_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i) + (triggered(c, i) ? (float)keel_num(c, "bonus") : 0);
    return KEEL_OK;
}
ZOO_REWARD(undeclared_parameter, "Reads a parameter that it does not declare.",
           .score = undeclared_parameter_score);

static keel_status undeclared_column_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    keel_array scores;
    for (size_t i = 0; i < n; i++) {
        out[i] = healthy(c, i);
        if (triggered(c, i) && keel_column(c, "model_scores", &scores) == KEEL_OK)
            out[i] += (float)keel_f64(&scores)[i];
    }
    return KEEL_OK;
}
ZOO_REWARD(undeclared_column, "Reads a column that it does not need.",
           .score = undeclared_column_score);

/* ---- parameters, errors, state, life */

static keel_status parameter_edge_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    if (keel_num(c, "level") == 8)
        abort();
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i);
    return KEEL_OK;
}
static const keel_component parameter_edge_component = KEEL_REWARD(
        .name = "parameter_edge", .help = "Cannot take the largest value that it allows.",
        KEEL_PARAMS(KEEL_PARAM_F64("level", 1, 0, 8, "Anything up to 8, it says.")),
        .score = parameter_edge_score);

static void *silent_refusal_create(keel_call *c) {
    if (keel_num(c, "count") < 1)
        keel_fail(c, KEEL_E_INVALID, "");
    return 0;
}
ZOO_SCORE(silent_refusal, out[i] += 1;)
static const keel_component silent_refusal_component = KEEL_REWARD(
        .name = "silent_refusal", .help = "Refuses a parameter without saying why.",
        KEEL_PARAMS(ZOO_TRIGGER, KEEL_PARAM_I64("count", 1, 0, 9, "At least 1, in truth.")),
        .create = silent_refusal_create, .score = silent_refusal_score);

static keel_status ignores_errors_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    keel_array length;
    keel_column(c, "length", &length);
    for (size_t i = 0; i < n; i++) {
        if (!length.data)
            abort();
        out[i] = (float)keel_i32(&length)[i];
    }
    return KEEL_OK;
}
ZOO_REWARD(ignores_errors, "Does not look at what a host function returns.", KEEL_NEEDS("length"),
           .score = ignores_errors_score);

static keel_status ignores_cancel_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    while (keel_cancelled(c))
        usleep(100000);
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i);
    return KEEL_OK;
}
ZOO_REWARD(ignores_cancel, "Waits for the run to go on.", .score = ignores_cancel_score);

static keel_status total_score(void *self, keel_call *c, size_t n, float *out) {
    double *total = self;
    for (size_t i = 0; i < n; i++) {
        double bytes = (double)keel_text(c, "response", i).n;
        *total += bytes;
        out[i] = (float)(bytes / *total);
    }
    return KEEL_OK;
}
static keel_status half_save(void *self, keel_call *c) {
    double half = *(double *)self / 2;
    return keel_write(c, &half, sizeof half);
}
static keel_status checked_load(void *self, keel_call *c, uint32_t version, const void *bytes,
                                size_t n) {
    (void)version;
    if (n != sizeof(double))
        return keel_fail(c, KEEL_E_STATE, "not a state of mine");
    memcpy(self, bytes, n);
    return KEEL_OK;
}
ZOO_REWARD(forgetful_state, "Saves half of what it knows.", .state_version = 1,
           .create = counter_create, .destroy = free, .save = half_save, .load = checked_load,
           .score = total_score);

static keel_status whole_save(void *self, keel_call *c) {
    return keel_write(c, self, sizeof(double));
}
static keel_status trusting_load(void *self, keel_call *c, uint32_t version, const void *bytes,
                                 size_t n) {
    (void)c, (void)version;
    memcpy(self, bytes, n < sizeof(double) ? n : sizeof(double));
    return KEEL_OK;
}
ZOO_REWARD(trusting_state, "Takes any bytes for its state.", .state_version = 1,
           .create = counter_create, .destroy = free, .save = whole_save, .load = trusting_load,
           .score = total_score);

/* A table for all instances, and the first one to go takes it away. */
static float *table;
static void *table_create(keel_call *c) {
    (void)c;
    if (!table)
        table = calloc(1, sizeof *table);
    return 0;
}
static void table_destroy(void *self) {
    (void)self;
    free(table);
    table = 0;
}
static keel_status use_after_destroy_score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    if (!table)
        abort();
    for (size_t i = 0; i < n; i++)
        out[i] = healthy(c, i) + *table;
    return KEEL_OK;
}
ZOO_REWARD(use_after_destroy, "Frees what other instances still use.", .create = table_create,
           .destroy = table_destroy, .score = use_after_destroy_score);

/* ---- resources */

static void *volatile lost;
ZOO_SCORE(leak, lost = malloc(8192); if (lost) memset(lost, 1, 8192);)
ZOO_REWARD(leak, "Loses 8 KiB a row.", .score = leak_score);

static volatile int opened;
ZOO_SCORE(
    file_leak, if (opened < 200) {
        opened++;
        (void)!open("/dev/null", O_RDONLY);
    })
ZOO_REWARD(file_leak, "Never closes a file; stops at 200.", .score = file_leak_score);

static volatile int started;
static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}
ZOO_SCORE(
    thread_leak, pthread_t thread; if (started < 16) {
        started++;
        pthread_create(&thread, 0, wait_for_ever, 0);
    })
ZOO_REWARD(thread_leak, "Starts threads and joins none; stops at 16.", .score = thread_leak_score);

/* Small: eight children, which end by themselves after a while. */
static volatile int forked;
ZOO_SCORE(
    fork_bomb, if (forked < 8) {
        forked++;
        if (fork() == 0) {
            alarm(30);
            for (;;)
                pause();
        }
    })
ZOO_REWARD(fork_bomb, "Starts processes that outlive the call; stops at 8.",
           .score = fork_bomb_score);

ZOO_SCORE(chatter, printf("scoring row %zu\n", i); fflush(stdout);)
ZOO_REWARD(chatter, "Writes to standard output.", .score = chatter_score);

KEEL_PLUGIN("org.example.zoo.rewards", "1.0.0", &out_of_bounds_component, &nan_component,
            &infinity_component, &no_rows_component, &many_rows_component, &empty_text_component,
            &long_text_component, &bad_utf8_component, &nul_inside_component, &final_nul_component,
            &writes_input_component, &missing_field_component, &time_dependent_component,
            &hidden_state_component, &position_dependent_component, &split_dependent_component,
            &instance_dependent_component, &race_component, &undeclared_parameter_component,
            &undeclared_column_component, &parameter_edge_component, &silent_refusal_component,
            &ignores_errors_component, &ignores_cancel_component, &forgetful_state_component,
            &trusting_state_component, &use_after_destroy_component, &leak_component,
            &file_leak_component, &thread_leak_component, &fork_bomb_component, &chatter_component)
