#include "worker.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

instance the_instance;
const volatile kw_control *the_control;
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;

double now_milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

call *call_begin(int stage) {
    call *c = allocate(sizeof *c);
    memset(c, 0, sizeof *c);
    c->host = host_table();
    c->stage = stage;
    c->phase = "policy";
    c->current = SIZE_MAX;
    c->in_order = true;
    return c;
}

void *call_lend(call *c, size_t n) {
    if (c->lent_count == c->lent_capacity) {
        c->lent_capacity = c->lent_capacity ? 2 * c->lent_capacity : 16;
        c->lent = realloc(c->lent, c->lent_capacity * sizeof *c->lent);
        if (!c->lent)
            _exit(71);
    }
    void *start = allocate(n);
    c->lent[c->lent_count++] = start;
    return start;
}

void call_context(call *c, reader *r) {
    c->step = (int64_t)read_u64(r);
    c->epoch = read_f64(r);
    c->phase = read_text(r).p;
    c->fact_count = (size_t)read_u64(r);
    c->facts = call_lend(c, c->fact_count * sizeof *c->facts);
    for (size_t i = 0; i < c->fact_count; i++) {
        c->facts[i].name = read_text(r).p;
        c->facts[i].value = read_f64(r);
    }
}

/* One more column, its array empty. */
static column *add_column(call *c, const char *name) {
    if (c->column_count == c->column_capacity) {
        size_t capacity = c->column_capacity ? 2 * c->column_capacity : 16;
        column *grown = call_lend(c, capacity * sizeof *grown);
        for (size_t i = 0; i < c->column_count; i++) {
            grown[i] = c->columns[i];
            grown[i].array.shape = grown[i].shape;
            grown[i].array.strides = grown[i].strides;
        }
        c->columns = grown;
        c->column_capacity = capacity;
    }
    column *made = &c->columns[c->column_count++];
    memset(made, 0, sizeof *made);
    made->name = name;
    made->array.shape = made->shape;
    made->array.strides = made->strides;
    made->array.device_type = 1;
    made->array.lanes = 1;
    return made;
}

static void fill_strides(column *made) {
    int64_t stride = 1;
    for (int axis = made->array.ndim; axis-- > 0;) {
        made->strides[axis] = stride;
        stride *= made->shape[axis];
    }
}

void call_batch(call *c, reader *r) {
    const void *base = r->at;
    c->rows = (size_t)read_u64(r);
    if (read_u64(r))
        c->ids = read_bytes(r, c->rows * 8);
    c->text_count = (size_t)read_u64(r);
    c->texts = call_lend(c, c->text_count * sizeof *c->texts);
    for (size_t i = 0; i < c->text_count; i++) {
        c->texts[i].name = read_text(r).p;
        c->texts[i].cells = call_lend(c, c->rows * sizeof(keel_str));
        for (size_t row = 0; row < c->rows; row++)
            c->texts[i].cells[row] = read_text(r);
    }
    uint64_t has_tokens = read_u64(r);
    if (has_tokens) {
        c->token_columns = has_tokens == 2;
        c->tokens = call_lend(c, c->rows * sizeof *c->tokens);
        for (size_t row = 0; row < c->rows; row++) {
            c->tokens[row].prompt = (size_t)read_u64(r);
            c->tokens[row].total = (size_t)read_u64(r);
            c->tokens[row].ids = read_bytes(r, c->tokens[row].total * 4);
        }
    }
    size_t columns = (size_t)read_u64(r);
    for (size_t i = 0; i < columns; i++) {
        column *made = add_column(c, read_text(r).p);
        size_t cells = 1;
        made->array.code = (uint8_t)read_u64(r);
        made->array.bits = (uint8_t)read_u64(r);
        made->array.ndim = (int32_t)read_u64(r);
        for (int axis = 0; axis < made->array.ndim; axis++) {
            made->shape[axis] = (int64_t)read_u64(r);
            cells *= (size_t)made->shape[axis];
        }
        fill_strides(made);
        read_align(r, 64, base);
        made->array.data = (void *)(uintptr_t)read_bytes(r, cells * made->array.bits / 8);
    }
    c->order_epoch = (int64_t)read_u64(r);
    c->number_count = (size_t)read_u64(r);
    c->numbers = read_bytes(r, c->number_count * 8);
    if (c->stage == STAGE_ASK) {
        c->asked = call_lend(c, c->rows * sizeof *c->asked);
        memset(c->asked, 0, c->rows * sizeof *c->asked);
    }
    if (c->stage == STAGE_SCORE) {
        c->milliseconds = call_lend(c, c->rows * sizeof(double));
        memset(c->milliseconds, 0, c->rows * sizeof(double));
    }
}

/* The ids of the responses as [rows, longest], and the mask of what is not padding. */
static void make_token_columns(call *c) {
    c->token_columns = false;
    size_t width = 0;
    for (size_t row = 0; row < c->rows; row++) {
        size_t length = c->tokens[row].total - c->tokens[row].prompt;
        width = length > width ? length : width;
    }
    if (width == 0)
        return;
    int32_t *ids = call_lend(c, c->rows * width * sizeof *ids);
    double *mask = call_lend(c, c->rows * width * sizeof *mask);
    memset(ids, 0, c->rows * width * sizeof *ids);
    for (size_t row = 0; row < c->rows; row++) {
        const token_row *from = &c->tokens[row];
        size_t length = from->total - from->prompt;
        if (length)
            memcpy(ids + row * width, from->ids + from->prompt, length * sizeof *ids);
        for (size_t at = 0; at < width; at++)
            mask[row * width + at] = at < length;
    }
    for (int i = 0; i < 2; i++) {
        column *made = add_column(c, i ? "mask" : "tokens");
        made->array.data = i ? (void *)mask : (void *)ids;
        made->array.code = i ? KEEL_FLOAT : KEEL_INT;
        made->array.bits = i ? 64 : 32;
        made->array.ndim = 2;
        made->shape[0] = (int64_t)c->rows;
        made->shape[1] = (int64_t)width;
        fill_strides(made);
    }
}

column *call_column(call *c, const char *name) {
    if (c->token_columns)
        make_token_columns(c);
    for (size_t i = 0; i < c->column_count; i++)
        if (strcmp(c->columns[i].name, name) == 0)
            return &c->columns[i];
    return 0;
}

column *call_give(call *c, const char *name) {
    column *known = call_column(c, name);
    if (known) {
        known->given = true;
        return known;
    }
    size_t n = strlen(name) + 1;
    char *copy = call_lend(c, n);
    memcpy(copy, name, n);
    column *made = add_column(c, copy);
    made->given = true;
    return made;
}

uint64_t call_row_id(const call *c, size_t row) {
    return c->ids && row < c->rows ? c->ids[row] : (uint64_t)row;
}

keel_status call_fail(call *c, keel_status status, int kind, const char *text, size_t n) {
    pthread_mutex_lock(&failure_lock);
    if (!c->has_failed) {
        c->has_failed = true;
        c->status = status;
        c->failure = kind;
        put_bytes(&c->what, text, n);
    }
    pthread_mutex_unlock(&failure_lock);
    return status;
}

keel_status call_says(call *c, keel_status status, const char *format, ...) {
    char text[8192];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    return call_fail(c, status, KW_SAYS, text, length);
}

/* Ends the time of the row that was being worked at. */
static void settle(call *c, double now) {
    if (c->current == SIZE_MAX)
        return;
    c->milliseconds[c->current] += now - c->since;
    if (c->scores[c->current] == KW_UNWRITTEN)
        c->in_order = false;
}

void call_touch(call *c, size_t row) {
    if (c->current == row || !c->milliseconds || !c->scores)
        return;
    double now = now_milliseconds();
    settle(c, now);
    c->current = row;
    c->since = now;
    if (c->progress)
        c->progress->touched = (uint32_t)row + 1;
}

static void put_columns(call *c, buffer *out) {
    size_t given = 0;
    for (size_t i = 0; i < c->column_count; i++)
        given += c->columns[i].given;
    put_u64(out, given);
    for (size_t i = 0; i < c->column_count; i++) {
        const column *one = &c->columns[i];
        if (!one->given)
            continue;
        size_t cells = 1;
        put_text(out, (keel_str){one->name, strlen(one->name)});
        put_u64(out, one->array.code);
        put_u64(out, one->array.bits);
        put_u64(out, (uint64_t)one->array.ndim);
        for (int axis = 0; axis < one->array.ndim; axis++) {
            put_u64(out, (uint64_t)one->shape[axis]);
            cells *= (size_t)one->shape[axis];
        }
        put_bytes(out, one->array.data, cells * one->array.bits / 8);
        put_pad(out);
    }
}

void call_end(call *c, keel_status status, uint64_t state_limit, const buffer *image) {
    buffer out = {0, 0, 0};
    double now = now_milliseconds();
    if (c->milliseconds && c->scores)
        settle(c, now);
    put_u64(&out, (uint64_t)(int64_t)(c->has_failed ? c->status : status));
    put_u64(&out, (uint64_t)c->failure);
    put_text(&out, c->has_failed ? (keel_str){c->what.n ? (char *)c->what.start : "", c->what.n}
                                 : (keel_str){0, 0});
    put_u64(&out, c->metric_name_count);
    put_bytes(&out, c->metric_names.start, c->metric_names.n);
    put_u64(&out, c->metric_count);
    put_bytes(&out, c->metrics.start, c->metrics.n);
    put_columns(c, &out);
    bool has_times = c->milliseconds && c->current != SIZE_MAX && c->in_order;
    put_u64(&out, has_times ? c->rows : 0);
    if (has_times)
        put_bytes(&out, c->milliseconds, c->rows * sizeof(double));
    put_u64(&out, c->asked ? c->rows : 0);
    for (size_t row = 0; c->asked && row < c->rows; row++)
        put_text(&out, c->asked[row]);
    put_u64(&out, c->need_count);
    put_bytes(&out, c->needs.start, c->needs.n);
    bool has_state = c->stage == STAGE_SAVE;
    put_u64(&out, has_state ? c->state.n : KW_ABSENT);
    if (has_state && c->state.n <= state_limit)
        put_text(&out, (keel_str){c->state.n ? (char *)c->state.start : "", c->state.n});
    else
        put_u64(&out, KW_ABSENT);
    if (image)
        put_text(&out, (keel_str){(char *)image->start, image->n});
    else
        put_u64(&out, KW_ABSENT);
    fflush(stdout);
    send_frame(KW_DONE, 0, out.start, out.n);
    free(out.start);
    free(c->what.start);
    free(c->metric_names.start);
    free(c->metrics.start);
    free(c->metric_list);
    free(c->needs.start);
    free(c->state.start);
    for (size_t i = 0; i < c->lent_count; i++)
        free(c->lent[i]);
    free(c->lent);
    free(c);
}
