#include "worker.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns as arrays: which ones a component may ask for, and what it gives. */

/* Whether the first `n` bytes of a name are this text. */
static bool is(const char *name, size_t n, const char *text) {
    return strlen(text) == n && memcmp(name, text, n) == 0;
}

/* A name of the list, with or without the '?' that makes it optional. */
static bool in_list(const char *const *names, const char *name, size_t n) {
    for (; names && *names; names++) {
        size_t length = strlen(*names);
        if (length > 0 && (*names)[length - 1] == '?')
            length--;
        if (length == n && memcmp(*names, name, n) == 0)
            return true;
    }
    return false;
}

static bool is_listed(const char *name, size_t n) {
    const keel_component *own = &the_instance.component;
    return in_list(own->needs, name, n) || in_list(own->gives, name, n) ||
           in_list(the_instance.extra_needs, name, n);
}

/* `seq_logprobs` and `mean_logprobs`, with anything before them, follow from `logprobs`. */
static bool is_derived(const char *name) {
    static const char *const parts[] = {"seq_logprobs", "mean_logprobs"};
    size_t n = strlen(name);
    for (size_t i = 0; i < 2; i++) {
        size_t part = strlen(parts[i]);
        if (n < part || strcmp(name + n - part, parts[i]) != 0)
            continue;
        size_t before = n - part;
        if (before > 0 && name[before - 1] != '.' && name[before - 1] != '_')
            continue;
        char source[4096 + 16];
        snprintf(source, sizeof source, "%.*slogprobs", (int)before, name);
        return is_listed(source, strlen(source));
    }
    return false;
}

static bool is_declared(call *c, const char *name) {
    static const char *const structural[] = {"mask",   "weight",   "group", "length",
                                             "tokens", "finished", "valid"};
    const char *dot = strrchr(name, '.'), *base = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof structural / sizeof *structural; i++)
        if (strcmp(base, structural[i]) == 0)
            return true;
    const column *known = call_column(c, name);
    return (known && known->given) || is_listed(name, strlen(name)) || is_derived(name);
}

int host_has(keel_call *c_, const char *name) {
    call *c = (call *)c_;
    if (!name)
        return 0;
    for (size_t i = 0; i < c->text_count; i++)
        if (strcmp(c->texts[i].name, name) == 0)
            return 1;
    return call_column(c, name) && is_declared(c, name);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `the column "x" is not there; the batch has a, b` */
static keel_status not_there(call *c, const char *name) {
    buffer list = {0, 0, 0};
    const char **names = call_lend(c, c->column_count * sizeof *names);
    for (size_t i = 0; i < c->column_count; i++)
        names[i] = c->columns[i].name;
    qsort(names, c->column_count, sizeof *names, by_name);
    for (size_t i = 0; i < c->column_count; i++) {
        put_bytes(&list, ", ", i ? 2 : 0);
        put_bytes(&list, names[i], strlen(names[i]));
    }
    keel_status status = call_says(c, KEEL_E_MISSING,
                                   "the column \"%s\" is not there; the batch has %.*s", name,
                                   (int)list.n, list.n ? (char *)list.start : "");
    free(list.start);
    return status;
}

keel_status host_column(keel_call *c_, const char *name, keel_array *out) {
    call *c = (call *)c_;
    char copy[4096 + 1];
    size_t n = name ? strnlen(name, 4096) : 0;
    if (n)
        memcpy(copy, name, n);
    copy[n] = 0;
    if (out)
        memset(out, 0, sizeof *out);
    if (!is_declared(c, copy))
        return call_fail(c, KEEL_E_MISSING, KW_UNDECLARED_COLUMN, copy, n);
    const column *found = call_column(c, copy);
    if (!found)
        return not_there(c, copy);
    if (out)
        *out = found->array;
    return KEEL_OK;
}

/* The shape as the host writes one: [2, 3]. */
static void shape_text(const keel_array *a, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int axis = 0; axis < a->ndim && n < size; axis++)
        n += (size_t)snprintf(out + n, size - n, axis ? ", %" PRId64 : "%" PRId64, a->shape[axis]);
    if (n < size)
        snprintf(out + n, size - n, "]");
}

keel_status host_put(keel_call *c_, const char *name_, const keel_array *a) {
    call *c = (call *)c_;
    char name[4096 + 1];
    size_t n = name_ ? strnlen(name_, 4096) : 0;
    if (n)
        memcpy(name, name_, n);
    name[n] = 0;
    if (!a)
        return call_says(c, KEEL_E_INVALID, "puts \"%s\" without an array", name);
    if (c->stage != STAGE_SCORE)
        return call_says(c, KEEL_E_STATE, "`put` belongs to `prepare` and `score`, not to `%s`",
                         c->stage == STAGE_CREATE     ? "create"
                         : c->stage == STAGE_SAVE     ? "save"
                         : c->stage == STAGE_LOAD     ? "load"
                         : c->stage == STAGE_ASK      ? "ask"
                         : c->stage == STAGE_FEEDBACK ? "feedback"
                                                      : "order");
    bool gives = false;
    for (const keel_name *list = the_instance.component.gives; list && *list; list++)
        gives = gives || is(*list, strlen(*list), name);
    if (!gives)
        return call_fail(c, KEEL_E_INVALID, KW_UNDECLARED_GIVES, name, n);
    if (a->ndim < 0 || a->ndim > 8 || a->device_type != 1 || a->lanes > 1)
        return call_says(c, KEEL_E_INVALID, "array \"%s\": %d dimensions on device type %d", name,
                         (int)a->ndim, (int)a->device_type);
    size_t cells = 1;
    for (int axis = 0; axis < a->ndim; axis++) {
        if (!a->shape || a->shape[axis] < 0)
            return call_says(c, KEEL_E_INVALID, "array \"%s\" has no shape, or a negative length",
                             name);
        size_t length = (size_t)a->shape[axis];
        if (length > 0 && cells > ((size_t)1 << 40) / length)
            return call_says(c, KEEL_E_INVALID, "array \"%s\" has too many cells", name);
        cells *= length;
    }
    if (cells > 0 && !a->data)
        return call_says(c, KEEL_E_INVALID, "array \"%s\" has no data", name);
    bool known = (a->code == KEEL_FLOAT || a->code == KEEL_INT) && (a->bits == 32 || a->bits == 64);
    if (cells > 0 && !known)
        return call_says(c, KEEL_E_UNSUPPORTED,
                         "array \"%s\" holds type %d of %d bits; f32, f64, i32 and i64 work", name,
                         a->code, a->bits);
    if (a->ndim == 0 || (size_t)a->shape[0] != c->rows) {
        char shape[256];
        shape_text(a, shape, sizeof shape);
        return call_says(c, KEEL_E_INVALID, "puts %s %s for a batch of %zu rows", name, shape,
                         c->rows);
    }
    /* Floating columns are f64 wherever they are read. */
    bool widen = known && a->code == KEEL_FLOAT && a->bits == 32;
    size_t from_bytes = a->bits / 8, to_bytes = widen ? 8 : from_bytes;
    unsigned char *data = call_lend(c, cells * to_bytes);
    int64_t at[8] = {0};
    for (size_t cell = 0; cell < cells; cell++) {
        int64_t offset = (int64_t)cell;
        if (a->strides) {
            offset = 0;
            for (int axis = 0; axis < a->ndim; axis++)
                offset += at[axis] * a->strides[axis];
            for (int axis = a->ndim; axis-- > 0 && ++at[axis] == a->shape[axis];)
                at[axis] = 0;
        }
        const unsigned char *from = (const unsigned char *)a->data + a->byte_offset;
        from += offset * (int64_t)from_bytes;
        if (widen) {
            float narrow;
            memcpy(&narrow, from, sizeof narrow);
            double wide = narrow;
            memcpy(data + cell * 8, &wide, sizeof wide);
        } else {
            memcpy(data + cell * to_bytes, from, to_bytes);
        }
    }
    column *made = call_give(c, name);
    made->array.data = data;
    made->array.code = known ? a->code : KEEL_FLOAT;
    made->array.bits = known ? (uint8_t)(to_bytes * 8) : 64;
    made->array.ndim = a->ndim;
    int64_t stride = 1;
    for (int axis = a->ndim; axis-- > 0;) {
        made->shape[axis] = a->shape[axis];
        made->strides[axis] = stride;
        stride *= a->shape[axis];
    }
    return KEEL_OK;
}
