/* A data sampler that learns: rows of large loss come more often. */
#include "keel.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct memory {
    size_t n;
    double *priority;
};

static void *create(keel_call *c) {
    (void)c;
    return calloc(1, sizeof(struct memory));
}

static void destroy(void *self) {
    free(((struct memory *)self)->priority);
    free(self);
}

/* Priorities of so many rows, 1 where nothing is known yet. */
static void reserve(struct memory *m, size_t n) {
    if (m->n >= n)
        return;
    m->priority = realloc(m->priority, n * sizeof(double));
    while (m->n < n)
        m->priority[m->n++] = 1;
}

/* Crashes, hangs or fails at its callback; with a marker, only where that file is not there yet. */
static keel_status misbehave(keel_call *c, const char *stage) {
    keel_str what = keel_string(c, "misdeed");
    if (keel_is(what, "none") || !keel_is(keel_string(c, "at"), stage))
        return KEEL_OK;
    const char *marker = keel_string(c, "marker").p;
    if (*marker) {
        if (access(marker, F_OK) == 0)
            return KEEL_OK;
        fclose(fopen(marker, "w"));
    }
    if (keel_is(what, "crash")) {
        fprintf(stderr, "about to crash\n");
        *(volatile int *)8 = 1;
    }
    if (keel_is(what, "hang"))
        for (;;)
            sleep(1);
    return keel_fail(c, KEEL_E_INVALID, "told to fail");
}

static keel_status order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    (void)epoch;
    struct memory *m = self;
    size_t rows = keel_rows(c);
    reserve(m, rows);
    double sum = 0;
    for (size_t i = 0; i < rows; i++)
        sum += m->priority[i];
    for (size_t i = 0; i < n; i++) {
        double left = keel_uniform(c, 0, i) * sum;
        size_t row = 0;
        while (row + 1 < rows && left >= m->priority[row])
            left -= m->priority[row++];
        out[i] = (int64_t)row;
    }
    return misbehave(c, "order");
}

static keel_status feedback(void *self, keel_call *c, const int64_t *rows, size_t n) {
    struct memory *m = self;
    keel_array loss;
    if (keel_column(c, "loss", &loss) != KEEL_OK)
        return KEEL_E_MISSING;
    if (keel_cells(&loss) != n)
        return keel_fail(c, KEEL_E_INVALID, "one loss per row was expected");
    for (size_t i = 0; i < n; i++) {
        reserve(m, (size_t)rows[i] + 1);
        double *own = &m->priority[rows[i]];
        *own = 0.5 * *own + 0.5 * fabs(keel_f64(&loss)[i]);
        keel_metric(c, "priority", *own);
    }
    return misbehave(c, "feedback");
}

static keel_status save(void *self, keel_call *c) {
    struct memory *m = self;
    size_t known = 0;
    for (size_t i = 0; i < m->n; i++)
        known += m->priority[i] != 1;
    /* More than one feedback teaches: there is a memory to lose. */
    if (known > 5 && misbehave(c, "save") != KEEL_OK)
        return KEEL_E_INVALID;
    return keel_write(c, m->priority, m->n * sizeof(double));
}

static keel_status load(void *self, keel_call *c, uint32_t version, const void *bytes, size_t n) {
    struct memory *m = self;
    if (version != 1 || n % sizeof(double) != 0)
        return keel_fail(c, KEEL_E_STATE, "not a state of mine");
    m->priority = realloc(m->priority, n + 1);
    m->n = n / sizeof(double);
    if (n > 0)
        memcpy(m->priority, bytes, n);
    return KEEL_OK;
}

static const keel_component priority = KEEL_DATA_SAMPLER(
        .name = "priority", .help = "Rows of large loss come more often.", KEEL_NEEDS("loss"),
        KEEL_PARAMS(KEEL_PARAM_ENUM("misdeed", "none", "", "none", "crash", "hang", "fail"),
                    KEEL_PARAM_STR("at", "feedback", ""), KEEL_PARAM_STR("marker", "", "")),
        .state_version = 1, .create = create, .destroy = destroy, .save = save, .load = load,
        .feedback = feedback, .order = order);
static const keel_component wanting = KEEL_DATA_SAMPLER(.name = "wanting",
                                                        .help = "Needs what no run has.",
                                                        KEEL_NEEDS("reward", "row"),
                                                        .create = create, .destroy = destroy,
                                                        .order = order);
KEEL_PLUGIN("test.priority", "1.0.0", &priority, &wanting)
