/* The parts of keel-worker: one plugin component in one process, on its main thread. */
#ifndef KEEL_WORKER_H
#define KEEL_WORKER_H
#include "cworker.h"
#include "keel.h"
#include <stdbool.h>
#include <stddef.h>

/* ---- stream.c: words and texts in, words and texts out */

/* Where a stream is read; what lies behind its end ends the process. */
typedef struct reader {
    const unsigned char *at, *end;
} reader;

uint64_t read_u64(reader *r);
double read_f64(reader *r);
/* A text in place, with a NUL behind it; p null = absent. */
keel_str read_text(reader *r);
/* `n` bytes in place, then up to the next word. */
const void *read_bytes(reader *r, size_t n);
void read_align(reader *r, size_t alignment, const void *base);

/* Bytes that grow. */
typedef struct buffer {
    unsigned char *start;
    size_t n, capacity;
} buffer;

void put_bytes(buffer *b, const void *bytes, size_t n);
void put_u64(buffer *b, uint64_t v);
void put_f64(buffer *b, double v);
void put_text(buffer *b, keel_str text);
/* Zeros up to the next word. */
void put_pad(buffer *b);

/* `malloc` that ends the process when there is no memory. */
void *allocate(size_t n);

/* ---- call.c: what a callback sees and leaves behind */

/* A named array; `given` ones were put by the plugin and are ours. */
typedef struct column {
    const char *name;
    keel_array array;
    int64_t shape[8], strides[8];
    bool given;
} column;

typedef struct text_column {
    const char *name;
    keel_str *cells;
} text_column;

typedef struct token_row {
    size_t prompt, total;
    const int32_t *ids;
} token_row;

typedef struct parameter {
    const char *name;
    uint64_t kind; /* KW_PARAM_* */
    double number;
    keel_str string, json;
    const double *list;
    size_t count;
} parameter;

typedef struct fact {
    const char *name;
    double value;
} fact;

enum { STAGE_CREATE, STAGE_SAVE, STAGE_LOAD, STAGE_ASK, STAGE_SCORE, STAGE_ORDER, STAGE_FEEDBACK };

/* One callback. The host's table must come first: it is what `keel_call *` points to. */
typedef struct call {
    const keel_host *host;
    int stage;
    /* context */
    int64_t step;
    double epoch;
    const char *phase;
    fact *facts;
    size_t fact_count;
    /* rows */
    size_t rows;
    const uint64_t *ids; /* null: 0, 1, 2 ... */
    text_column *texts;
    size_t text_count;
    token_row *tokens; /* null: none */
    bool token_columns;
    column *columns;
    size_t column_count, column_capacity;
    const int64_t *numbers; /* of feedback */
    size_t number_count;
    int64_t order_epoch;
    /* what it leaves */
    int32_t status; /* of the first failure, 0 = none */
    int failure;    /* KW_SAYS ... */
    buffer what;
    bool has_failed;
    buffer metric_names, metrics;
    size_t metric_name_count, metric_count;
    const char **metric_list;
    buffer needs;
    size_t need_count;
    keel_str *asked;
    buffer state;
    /* rows as they pass: which one is being worked at since when, and what each took */
    volatile kw_progress *progress;
    const volatile uint32_t *scores;
    size_t current; /* SIZE_MAX: none yet */
    double since;
    double *milliseconds;
    bool in_order; /* rows were scored one after the other, as far as can be seen */
    /* what is lent until the end */
    void **lent;
    size_t lent_count, lent_capacity;
} call;

/* The component that this process runs. */
typedef struct instance {
    keel_component component;
    const char *name;
    uint64_t seed;
    parameter *parameters;
    size_t parameter_count;
    const char **extra_needs;
    size_t extra_need_count;
    void *self;
} instance;

extern instance the_instance;
/* Set by the host; null before the first request. */
extern const volatile kw_control *the_control;

call *call_begin(int stage);
void call_context(call *c, reader *r);
void call_batch(call *c, reader *r);
/* Writes KW_DONE and frees the call. `image` may be empty. */
void call_end(call *c, keel_status status, uint64_t state_limit, const buffer *image);
/* Memory that lives until the call ends. */
void *call_lend(call *c, size_t n);
/* Keeps the first failure. [any thread] */
keel_status call_fail(call *c, keel_status status, int kind, const char *text, size_t n);
keel_status call_says(call *c, keel_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The row is being worked at. */
void call_touch(call *c, size_t row);
/* A column that is there; null = none. */
column *call_column(call *c, const char *name);
/* The column that the plugin gives under this name, its array to be filled. */
column *call_give(call *c, const char *name);
uint64_t call_row_id(const call *c, size_t row);
double now_milliseconds(void);

/* ---- host_table.c, host_columns.c: the functions of keel.h */
const keel_host *host_table(void);
int host_has(keel_call *c, const char *name);
keel_status host_column(keel_call *c, const char *name, keel_array *out);
keel_status host_put(keel_call *c, const char *name, const keel_array *array);

/* ---- row_json.c: the value at a JSON pointer of compact JSON text that the host wrote */

/* The value's text, or a string's own bytes in `c`'s memory; p null: absent or null. */
keel_str row_field(call *c, keel_str json, const char *pointer);

/* ---- random.c: the host's counter-based numbers, the same bits */
uint64_t random_bits(uint64_t seed, const char *place, uint64_t time, uint64_t row, uint64_t n);

/* ---- descriptor.c: what a plugin file holds */

/* Loads a file; null with the failure recorded. */
const keel_plugin *plugin_load(call *c, const char *path);
/* Copies a component into the struct of this build, zero behind a shorter one; false: no such one. */
bool plugin_find(const keel_plugin *p, const char *name, int32_t kind, keel_component *out);
/* The descriptor as bytes that the host can follow. */
void plugin_image(const keel_plugin *p, buffer *out);

/* ---- main.c: frames to the host */

/* Sends one frame; ends the process when the host is gone. [any thread] */
void send_frame(uint32_t type, uint32_t level, const void *bytes, size_t n);

#endif
