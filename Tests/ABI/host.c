/* A host in miniature: loads a plugin as Keel does, runs one component, prints what it gives.
 *
 *   host PLUGIN COMPONENT
 *
 * Built with the header of 1.0 it stands for an old Keel, with a grown header and -DHOST_MINOR=1 for a later one. It knows
 * the operations that the frozen plugin's pairs need. 3: the plugin asks for a later minor; 1: anything else is wrong. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "keel.h"

#ifndef HOST_MINOR
#define HOST_MINOR 0
#endif
enum { ROWS = 3, CELLS = 256 };

static keel_component component;
static keel_param params[16];
static double tensors[CELLS][ROWS];
static uint64_t tensor_count = 1;
static uint8_t state[256];
static size_t state_size;
static int failed;
static const int64_t rows_shape[1] = {ROWS};
static const char *const responses[ROWS] = {"", "four", "sixteen letters."};
static const int32_t ids[ROWS][4] = {{1, 2, 3, 4}, {1, 5, 6, 7}, {1, 8, 9, 10}};

static keel_status fail(keel_call *c, keel_status code, const char *text) {
    (void)c;
    if (!failed++)
        printf("error %d: %s\n", code, text);
    return code;
}
static const void *query(keel_call *c, const char *id) { return (void)c, (void)id, (void *)0; }
static int cancelled(keel_call *c) { return (void)c, 0; }
static void note(keel_call *c, int level, const char *text) {
    (void)c, printf("log %d %s\n", level, text);
}
static void metric(keel_call *c, const char *name, double value, int how) {
    (void)c;
    printf("metric %s %a %d\n", name, value, how);
}
static keel_t tensor(const double *cells) {
    keel_t t = {tensor_count++ % CELLS};
    memcpy(tensors[t.id], cells, sizeof tensors[0]);
    return t;
}
static void metric_t(keel_call *c, const char *name, keel_t t, int how) {
    for (int i = 0; i < ROWS; i++)
        metric(c, name, tensors[t.id][i], how);
}
static const keel_param *param(keel_call *c, const char *name) {
    for (uint32_t i = 0; i < component.param_count && i < 16; i++)
        if (strcmp(params[i].name, name) == 0)
            return &params[i];
    fail(c, KEEL_E_MISSING, name);
    return 0;
}
static double num(keel_call *c, const char *name) {
    const keel_param *p = param(c, name);
    return p ? p->value : 0;
}
static keel_str str(keel_call *c, const char *name) {
    const keel_param *p = param(c, name);
    keel_str s = {p ? p->text : 0, p && p->text ? strlen(p->text) : 0};
    return s;
}
static const double *list(keel_call *c, const char *name, size_t *n) {
    static const double none[1] = {0};
    *n = 0;
    return param(c, name) ? none : 0;
}
static double fact(keel_call *c, const char *name) {
    return (void)c, strcmp(name, "step") ? NAN : 5;
}
static const char *phase(keel_call *c) { return (void)c, "policy"; }
static uint64_t random_bits(keel_call *c, size_t row, uint64_t n) {
    (void)c;
    uint64_t x = (row * 31 + n + 1) * 0x9E3779B97F4A7C15u;
    return (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
}
static size_t rows(keel_call *c) { return (void)c, (size_t)ROWS; }
static keel_str text(keel_call *c, const char *column, size_t row) {
    (void)c;
    keel_str s = {0, 0};
    if (strcmp(column, "response") == 0)
        s.p = responses[row], s.n = strlen(s.p);
    return s;
}
static keel_str field(keel_call *c, size_t row, const char *pointer) {
    (void)c, (void)pointer;
    keel_str s = {row == 1 ? "1" : 0, row == 1};
    return s;
}
static const int32_t *tokens(keel_call *c, size_t row, size_t *prompt, size_t *total) {
    (void)c;
    *prompt = 1, *total = 4;
    return ids[row];
}
static keel_status need(keel_call *c, const char *column) {
    return (void)c, printf("need %s\n", column), KEEL_OK;
}
static keel_status reduction(keel_call *c, const char *name, double constant) {
    return (void)c, printf("reduction %s %a\n", name, constant), KEEL_OK;
}
static int has(keel_call *c, const char *column) { return (void)c, (void)column, 0; }
static keel_status column(keel_call *c, const char *name, keel_array *out) {
    static double cells[ROWS] = {1, 0.25, 0.75};
    (void)name, (void)c;
    *out = keel_array_f64(cells, rows_shape, 1);
    return KEEL_OK;
}
static keel_status put(keel_call *c, const char *name, const keel_array *array) {
    (void)c;
    printf("put %s", name);
    for (size_t i = 0; i < keel_cells(array); i++)
        printf(" %a", keel_f64(array)[i]);
    puts("");
    return KEEL_OK;
}
static keel_status put_text(keel_call *c, const char *name, size_t row, const char *p, size_t n) {
    return (void)c, printf("put_text %s %zu %.*s\n", name, row, (int)n, p), KEEL_OK;
}
static keel_status write_state(keel_call *c, const void *bytes, size_t n) {
    if (state_size + n > sizeof state)
        return fail(c, KEEL_E_INVALID, "state too long");
    memcpy(state + state_size, bytes, n);
    state_size += n;
    return KEEL_OK;
}
static keel_t input(keel_call *c, const char *name) {
    double cells[ROWS];
    (void)c;
    for (int i = 0; i < ROWS; i++)
        cells[i] = -(double)strlen(name) * name[0] / (100 * (i + 2));
    return tensor(cells);
}
static keel_t upload(keel_call *c, const keel_array *array) {
    return (void)c, tensor(keel_f64(array));
}
static keel_t op(keel_call *c, int code, const keel_t *in, size_t n, const double *k, size_t nk) {
    double y[ROWS] = {0};
    for (int i = 0; i < ROWS && n > 0; i++) {
        double a = tensors[in[0].id][i], b = n > 1 ? tensors[in[1].id][i] : 0,
               s = nk > 0 ? k[0] : 0;
        switch (code) {
        case KEEL_OP_ADD:
            y[i] = a + b;
            break;
        case KEEL_OP_SUB:
            y[i] = a - b;
            break;
        case KEEL_OP_NEG:
            y[i] = -a;
            break;
        case KEEL_OP_SCALE:
            y[i] = s * a;
            break;
        case KEEL_OP_GT:
            y[i] = a > s;
            break;
        case KEEL_OP_LOG_SIGMOID:
            y[i] = fmin(a, 0) - log1p(exp(-fabs(a)));
            break;
        default:
            fail(c, KEEL_E_UNSUPPORTED, "an operation that this host does not know");
        }
    }
    return tensor(y);
}
static int op_supported(keel_call *c, int code) { return (void)c, code == KEEL_OP_ADD; }
static int shape(keel_call *c, keel_t t, int64_t *lengths, size_t cap) {
    (void)c, (void)t;
    if (cap > 0)
        lengths[0] = ROWS;
    return 1;
}
static keel_status read_tensor(keel_call *c, keel_t t, keel_array *out) {
    (void)c;
    *out = keel_array_f64(tensors[t.id], rows_shape, 1);
    return KEEL_OK;
}
static keel_status grad(keel_call *c, const char *name, const keel_array *array) {
    return put(c, name, array);
}
static const void *user(keel_call *c) { return (void)c, component.user; }
#if HOST_MINOR >= 1
static double novelty(keel_call *c, double x) { return (void)c, 100 + x; }
static void spare(void) {}
#endif

static const keel_host table = {
    sizeof table, HOST_MINOR,   query, fail,        cancelled,   note,  metric,
    metric_t,     num,          str,   str,         list,        fact,  phase,
    random_bits,  rows,         text,  field,       tokens,      need,  reduction,
    has,          column,       put,   put_text,    write_state, input, upload,
    op,           op_supported, shape, read_tensor, grad,        user,
#if HOST_MINOR >= 1
    novelty,      spare,
#endif
};

/* A copy in the host's own layout: what is missing is zero, what is too much is left behind. */
static void copy(void *mine, size_t size, const void *theirs, size_t their_size) {
    memset(mine, 0, size);
    memcpy(mine, theirs, size < their_size ? size : their_size);
}

static void run(keel_call *c) {
    void *self = component.create ? component.create(c) : 0;
    if (component.score) {
        float out[ROWS] = {NAN, NAN, NAN};
        printf("status %d\n", component.score(self, c, ROWS, out));
        for (int i = 0; i < ROWS; i++)
            printf("score %a\n", (double)out[i]);
    }
    if (component.loss) {
        keel_t loss = component.loss(self, c);
        for (int i = 0; i < ROWS; i++)
            printf("loss %a\n", tensors[loss.id][i]);
    }
    if (component.order) {
        int64_t order[ROWS], used[2] = {2, 0};
        if (component.feedback)
            printf("status %d\n", component.feedback(self, c, used, 2));
        printf("status %d\n", component.order(self, c, 1, order, ROWS));
        for (int i = 0; i < ROWS; i++)
            printf("row %d\n", (int)order[i]);
    }
    if (component.save) {
        printf("status %d, version %u\n", component.save(self, c), component.state_version);
        void *other = component.create ? component.create(c) : 0;
        printf("status %d, %zu bytes\n",
               component.load(other, c, component.state_version, state, state_size), state_size);
        if (component.destroy)
            component.destroy(other);
    }
#if HOST_MINOR >= 1
    printf("category %s, finish %s\n", component.category ? component.category : "none",
           component.finish ? "yes" : "none");
    if (component.finish)
        component.finish(self, c);
#endif
    if (component.destroy)
        component.destroy(self);
}

int main(int argc, char **argv) {
    void *file = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : 0;
    if (!file)
        return fprintf(stderr, "%s\n", dlerror()), 1;
    const keel_plugin *(*entry)(void) = 0;
    *(void **)&entry = dlsym(file, "keel_plugin_v1");
    if (!entry)
        return 1;
    keel_plugin plugin;
    copy(&plugin, sizeof plugin, entry(), entry()->size);
    if (plugin.api > HOST_MINOR) {
        printf("refused: %s asks for minor %u, this host offers %u\n", plugin.id, plugin.api,
               (unsigned)HOST_MINOR);
        return 3;
    }
    for (const keel_component *const *at = plugin.components; *at; at++) {
        copy(&component, sizeof component, *at, (*at)->size);
        if (strcmp(component.name, argv[2]) != 0)
            continue;
        for (uint32_t i = 0; i < component.param_count && i < 16; i++)
            copy(&params[i], sizeof params[i],
                 (const char *)component.params + (size_t)i * component.param_stride,
                 component.param_stride);
        keel_call call = {&table};
        run(&call);
        return failed != 0;
    }
    return 1;
}
