/* native.c - calls a C function that knows nothing of Keel, through libffi, to score rows.
 *
 * For a function of one row, each row is one call. For a function of a batch (it returns void and has an
 * argument `out`) all rows are one call.
 *
 *     str     a copy of the text with a NUL behind it; the function sees the text up to its first NUL
 *     buf     pointer and length, not copied and not to be written to; `tokens`: the response's ids, their count
 *     numbers of a field: a JSON number, a string that is one, true (1) or false (0)
 *     bool    what the function returns counts as 0 or 1; NaN means that the reward does not apply
 *
 * A row without one of the fields that the signature names (absent or null) is not applicable: the
 * function does not see it, and its score stays NaN. A field that is there but no number, or a number that the
 * argument's type cannot hold, is an error. */
#include "native.h"
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <ffi.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_ARGUMENTS = 32, MAX_NAME = 4096, GUARD = 64 };

enum kind { STR, BUF, F64, F32, I64, I32, STRS, SIZE, BOOL, VOID, KINDS };
static const char *const kind_names[KINDS] = {"str", "buf",  "f64",  "f32",  "i64",
                                              "i32", "strs", "size", "bool", "void"};

enum source { PROMPT, RESPONSE, ROW, TOKENS, FIELD, PARAM, ROWS, OUT, SOURCES };
static const char *const source_names[SOURCES] = {"prompt", "response", "row",  "tokens",
                                                  "field:", "param:",   "rows", "out"};

/* A number of any of the four types, a pointer or a size. */
union value {
    double f64;
    float f32;
    int64_t i64;
    int32_t i32;
    const void *pointer;
    size_t size;
};

struct argument {
    enum kind kind;
    enum source source;
    char *name;        /* the pointer of a field, the name of a parameter */
    union value value; /* in the next call; of a parameter always the same */
    size_t length;     /* of a buf */
    char *text;        /* where texts are copied to, `capacity` bytes */
    size_t capacity;
    const char **list; /* of strs: one text per row */
};

struct native {
    void (*function)(void);
    enum kind result;
    struct argument arguments[MAX_ARGUMENTS];
    size_t count;
    ffi_cif cif;
    ffi_type *types[2 * MAX_ARGUMENTS];
    void *values[2 * MAX_ARGUMENTS];
    size_t *applicable; /* rows of a batch that have all fields, in order */
    size_t row_capacity;
    char *out; /* scores of a batch, and guard bytes behind them */
};

/* ---------------------------------------------------------------- making one */

static ffi_type *ffi_type_of(const struct argument *a) {
    if (a->source == OUT)
        return &ffi_type_pointer;
    switch (a->kind) {
    case F64:
        return &ffi_type_double;
    case F32:
        return &ffi_type_float;
    case I64:
        return &ffi_type_sint64;
    case I32:
        return &ffi_type_sint32;
    case SIZE:
        return sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32;
    case BOOL:
        return &ffi_type_uint8;
    case VOID:
        return &ffi_type_void;
    default:
        return &ffi_type_pointer;
    }
}

static keel_status refuse(keel_call *c, const char *what, const char *detail) {
    char text[1024];
    snprintf(text, sizeof text, "%s%s", what, detail ? detail : "");
    return keel_fail(c, KEEL_E_INVALID, text);
}

static enum kind find_kind(const char *word, size_t length) {
    for (int k = 0; k < KINDS; k++)
        if (strlen(kind_names[k]) == length && memcmp(kind_names[k], word, length) == 0)
            return (enum kind)k;
    return KINDS;
}

/* Reads "kind source" into an argument; 0 for anything else. */
static int read_argument(struct argument *a, const char *line, size_t length) {
    const char *space = memchr(line, ' ', length);
    if (!space)
        return 0;
    a->kind = find_kind(line, (size_t)(space - line));
    const char *word = space + 1;
    length -= (size_t)(word - line);
    for (int s = 0; s < SOURCES; s++) {
        size_t own = strlen(source_names[s]);
        int has_name = s == FIELD || s == PARAM;
        if (length < own || memcmp(word, source_names[s], own) != 0 || (!has_name && length != own))
            continue;
        a->source = (enum source)s;
        if (has_name && length - own < MAX_NAME) {
            a->name = strndup(word + own, length - own);
            return a->kind < BOOL && a->name != NULL;
        }
        return a->kind < BOOL && !has_name;
    }
    return 0;
}

/* Result and arguments from the signature's lines; 0 when they are not what the host writes. */
static int read_signature(struct native *f, const char *text) {
    size_t length = strcspn(text, "\n");
    f->result = find_kind(text, length);
    if (f->result == KINDS || f->result < F64 || f->result == STRS || f->result == SIZE)
        return 0;
    for (text += length; *text == '\n'; text += length) {
        length = strcspn(++text, "\n");
        if (f->count == MAX_ARGUMENTS || !read_argument(&f->arguments[f->count++], text, length))
            return 0;
    }
    return *text == 0;
}

/* The number that a text says, of the argument's type; 0 when it is none or does not fit. */
static int read_number(struct argument *a, keel_str s) {
    char text[64], *end;
    while (s.n > 0 && isspace((unsigned char)s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    if (s.n == 0 || s.n >= sizeof text)
        return 0;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (keel_is(s, "true") || keel_is(s, "false"))
        snprintf(text, sizeof text, "%d", s.n == 4);
    if (strspn(text, "+-.0123456789eE") != strlen(text))
        return 0;
    double number = strtod(text, &end);
    if (*end || !isfinite(number))
        return 0;
    switch (a->kind) {
    case F64:
        a->value.f64 = number;
        return 1;
    case F32:
        a->value.f32 = (float)number;
        return isfinite(a->value.f32);
    case I64:
        if (strpbrk(text, ".eE")) { /* 1e3, 3.0 */
            if (number < -0x1p53 || number > 0x1p53 || number != (double)(int64_t)number)
                return 0;
            a->value.i64 = (int64_t)number;
            return 1;
        }
        errno = 0;
        a->value.i64 = strtoll(text, &end, 10);
        return errno == 0;
    case I32:
        if (number < INT32_MIN || number > INT32_MAX || number != (int32_t)number)
            return 0;
        a->value.i32 = (int32_t)number;
        return 1;
    default:
        return 0;
    }
}

static keel_status no_number(keel_call *c, const struct argument *a) {
    static const char *const words[KINDS] = {[F64] = "a number",
                                             [F32] = "a number that a float holds",
                                             [I64] = "an integer of 64 bits",
                                             [I32] = "an integer of 32 bits"};
    char text[MAX_NAME + 128];
    snprintf(text, sizeof text, "%s %s is not %s",
             a->source == PARAM ? "the parameter" : "the field", a->name, words[a->kind]);
    return keel_fail(c, KEEL_E_INVALID, text);
}

/* Parameters are read once: they do not change. */
static keel_status read_parameter(keel_call *c, struct argument *a) {
    if (a->kind == STR || a->kind == BUF) {
        keel_str s = keel_string(c,
                                 a->name); /* ends with a NUL and lives as long as the instance */
        a->value.pointer = s.p;
        a->length = s.n;
        return s.p ? KEEL_OK : KEEL_E_MISSING;
    }
    return read_number(a, keel_json(c, a->name)) ? KEEL_OK : no_number(c, a);
}

/* Lays the arguments out as libffi wants them. */
static int prepare(struct native *f) {
    unsigned n = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct argument *a = &f->arguments[i];
        f->types[n] = ffi_type_of(a);
        f->values[n++] = &a->value;
        if (a->kind == BUF) {
            f->types[n] = sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32;
            f->values[n++] = &a->length;
        }
    }
    const struct argument result = {.kind = f->result};
    return ffi_prep_cif(&f->cif, FFI_DEFAULT_ABI, n, ffi_type_of(&result), f->types) == FFI_OK;
}

static struct native *make(keel_call *c, struct native *f) {
    const native_function *what = keel_user(c);
    if (!what || !read_signature(f, what->signature) || !prepare(f)) {
        keel_fail(c, KEEL_E_INTERNAL, "the signature cannot be read");
        return f;
    }
    void *library = dlopen(what->library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        refuse(c, "cannot load the library: ", dlerror());
        return f;
    }
    void *symbol = dlsym(library, what->symbol);
    if (!symbol) {
        refuse(c, "the library has no function ", what->symbol);
        return f;
    }
    memcpy(&f->function, &symbol, sizeof f->function);
    for (size_t i = 0; i < f->count; i++)
        if (f->arguments[i].source == PARAM && read_parameter(c, &f->arguments[i]) != KEEL_OK)
            break;
    return f;
}

void *native_create(keel_call *c) {
    struct native *f = calloc(1, sizeof *f);
    if (!f) {
        keel_fail(c, KEEL_E_INTERNAL, "out of memory");
        return NULL;
    }
    return make(c, f);
}

void native_destroy(void *self) {
    struct native *f = self;
    for (size_t i = 0; i < f->count; i++) {
        free(f->arguments[i].name);
        free(f->arguments[i].text);
        free(f->arguments[i].list);
    }
    free(f->applicable);
    free(f->out);
    free(f);
}

/* ---------------------------------------------------------------- calling it */

static keel_status no_memory(keel_call *c) {
    return keel_fail(c, KEEL_E_INTERNAL, "out of memory");
}

/* The text of a source that has one; p null: absent. */
static keel_str read_text(keel_call *c, const struct argument *a, size_t row) {
    return a->source == FIELD ? keel_field(c, row, a->name)
                              : keel_text(c, source_names[a->source], row);
}

/* Room for `bytes` bytes of text, what is there kept. */
static int reserve(struct argument *a, size_t bytes) {
    if (bytes <= a->capacity)
        return 1;
    size_t capacity = bytes + bytes / 2 + 256;
    char *grown = realloc(a->text, capacity);
    if (!grown)
        return 0;
    a->text = grown;
    a->capacity = capacity;
    return 1;
}

/* Fills in what an argument has in one row; KEEL_E_MISSING without an error: the row lacks a field. */
static keel_status fill(keel_call *c, struct argument *a, size_t row) {
    if (a->source == PARAM)
        return KEEL_OK;
    if (a->source == TOKENS) {
        size_t prompt, total;
        const int32_t *ids = keel_tokens(c, row, &prompt, &total);
        a->value.pointer = ids ? ids + prompt : NULL;
        a->length = ids ? total - prompt : 0;
        return KEEL_OK;
    }
    keel_str s = read_text(c, a, row);
    if (!s.p) {
        if (a->source == FIELD)
            return KEEL_E_MISSING;
        s = (keel_str){"", 0};
    }
    switch (a->kind) {
    case STR:
        if (!reserve(a, s.n + 1))
            return no_memory(c);
        memcpy(a->text, s.p, s.n);
        a->text[s.n] = 0;
        a->value.pointer = a->text;
        return KEEL_OK;
    case BUF:
        a->value.pointer = s.p;
        a->length = s.n;
        return KEEL_OK;
    default:
        return read_number(a, s) ? KEEL_OK : no_number(c, a);
    }
}

/* The score that a call gives. */
static float call(struct native *f) {
    union {
        ffi_arg integer; /* results narrower than a register arrive widened */
        double f64;
        float f32;
        int64_t i64;
    } result = {0};
    ffi_call(&f->cif, f->function, &result, f->values);
    switch (f->result) {
    case F64:
        return (float)result.f64;
    case F32:
        return result.f32;
    case I64:
        return (float)result.i64;
    case I32:
        return (float)(int32_t)result.integer;
    case BOOL:
        return (uint8_t)result.integer != 0;
    default:
        return NAN;
    }
}

static keel_status score_rows(struct native *f, keel_call *c, size_t n, float *out) {
    for (size_t row = 0; row < n; row++) {
        keel_status status = KEEL_OK;
        for (size_t i = 0; i < f->count && status == KEEL_OK; i++)
            status = fill(c, &f->arguments[i], row);
        if (status != KEEL_OK && status != KEEL_E_MISSING)
            return status;
        out[row] = status == KEEL_OK ? call(f) : NAN;
    }
    return KEEL_OK;
}

/* Room for the lists of a batch of `n` rows. */
static int reserve_rows(struct native *f, size_t n) {
    if (n <= f->row_capacity)
        return 1;
    size_t *applicable = realloc(f->applicable, n * sizeof *applicable);
    if (applicable)
        f->applicable = applicable;
    char *out = realloc(f->out, n * sizeof(double) + GUARD);
    if (out)
        f->out = out;
    int is_whole = applicable && out;
    for (size_t i = 0; i < f->count; i++) {
        struct argument *a = &f->arguments[i];
        if (a->kind != STRS)
            continue;
        const char **list = realloc((void *)a->list, n * sizeof *list);
        if (list)
            a->list = list;
        else
            is_whole = 0;
    }
    if (is_whole)
        f->row_capacity = n;
    return is_whole;
}

/* The texts of an argument in the rows that count, one behind the other. */
static keel_status fill_list(keel_call *c, struct argument *a, const size_t *rows, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += read_text(c, a, rows[i]).n + 1;
    if (!reserve(a, total))
        return no_memory(c);
    char *at = a->text;
    for (size_t i = 0; i < n; i++) {
        keel_str s = read_text(c, a, rows[i]);
        a->list[i] = at;
        if (s.n > 0)
            memcpy(at, s.p, s.n);
        at[s.n] = 0;
        at += s.n + 1;
    }
    a->value.pointer = (const void *)a->list;
    return KEEL_OK;
}

static keel_status score_batch(struct native *f, keel_call *c, size_t n, float *out) {
    if (!reserve_rows(f, n))
        return no_memory(c);
    size_t count = 0;
    for (size_t row = 0; row < n; row++) {
        int is_whole = 1;
        for (size_t i = 0; i < f->count; i++)
            if (f->arguments[i].source == FIELD && !read_text(c, &f->arguments[i], row).p)
                is_whole = 0;
        if (is_whole)
            f->applicable[count++] = row;
    }
    if (count == 0) {
        for (size_t row = 0; row < n; row++)
            out[row] = NAN;
        return KEEL_OK;
    }
    size_t width = sizeof(float);
    for (size_t i = 0; i < f->count; i++) {
        struct argument *a = &f->arguments[i];
        if (a->kind == STRS && fill_list(c, a, f->applicable, count) != KEEL_OK)
            return KEEL_E_INTERNAL;
        if (a->kind == SIZE)
            a->value.size = count;
        if (a->source == OUT) {
            a->value.pointer = f->out;
            width = a->kind == F64 ? sizeof(double) : sizeof(float);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (width == sizeof(double))
            ((double *)(void *)f->out)[i] = NAN;
        else
            ((float *)(void *)f->out)[i] = NAN;
    }
    unsigned char *guard = (unsigned char *)f->out + count * width;
    memset(guard, 0xA5, GUARD);
    call(f);
    for (size_t i = 0; i < GUARD; i++)
        if (guard[i] != 0xA5)
            return keel_fail(c, KEEL_E_INVALID, "the function wrote past the end of its scores");
    for (size_t row = 0; row < n; row++)
        out[row] = NAN;
    for (size_t i = 0; i < count; i++)
        out[f->applicable[i]] = width == sizeof(double) ? (float)((double *)(void *)f->out)[i]
                                                        : ((float *)(void *)f->out)[i];
    return KEEL_OK;
}

keel_status native_score(void *self, keel_call *c, size_t n, float *out) {
    struct native *f = self;
    if (n == 0)
        return KEEL_OK;
    return f->result == VOID ? score_batch(f, c, n, out) : score_rows(f, c, n, out);
}

void native_component(const native_function *f, keel_component *out) {
    static const keel_name needs[] = {"tokens?", 0};
    *out = (keel_component){
        .size = (uint32_t)sizeof(keel_component),
        .kind = KEEL_KIND_REWARD,
        .name = f->symbol,
        .needs = needs,
        .user = f,
        .create = native_create,
        .destroy = native_destroy,
        .score = native_score,
    };
}
