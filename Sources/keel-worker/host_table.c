#include "worker.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

/* The functions of keel.h for what runs in a worker: KeelBridge/HostTable.swift in C. The two must agree in
 * values and in the texts of errors; a test runs one plugin through both. */

static const keel_str absent;

static call *of(keel_call *c) { return (call *)c; }

/* A plugin's text, read no further than this. */
static size_t length_of(const char *text) { return text ? strnlen(text, 4096) : 0; }

static const char *stage_name(const call *c) {
    static const char *const names[] = {"create", "save",  "load",    "ask",
                                        "score",  "order", "feedback"};
    return names[c->stage];
}

static keel_status wrong_stage(call *c, const char *service, const char *stages) {
    return call_says(c, KEEL_E_STATE, "%s belongs to %s, not to `%s`", service, stages,
                     stage_name(c));
}

/* ---- telemetry */

static const void *query(keel_call *c, const char *id) {
    (void)c, (void)id;
    return 0;
}

static keel_status fail(keel_call *c, keel_status code, const char *text) {
    call_fail(of(c), code, KW_SAYS, text ? text : "", length_of(text));
    return code;
}

static int cancelled(keel_call *c) {
    (void)c;
    return the_control && the_control->cancelled;
}

static void log_line(keel_call *c, int level, const char *text) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static double window;
    static int lines;
    (void)c;
    /* The host has a limit of its own; this one keeps the socket free. */
    pthread_mutex_lock(&lock);
    double now = now_milliseconds();
    if (now - window > 1000) {
        window = now;
        lines = 0;
    }
    bool is_allowed = ++lines <= 200;
    pthread_mutex_unlock(&lock);
    if (is_allowed)
        send_frame(KW_LOG, (uint32_t)(level < 0 ? 0 : level), text ? text : "", length_of(text));
}

static void metric(keel_call *c_, const char *name, double value, int how) {
    call *c = of(c_);
    if (how < KEEL_MEAN || how > KEEL_MAX)
        return;
    size_t n = length_of(name), index = 0;
    while (index < c->metric_name_count &&
           (strncmp(c->metric_list[index], name ? name : "", n) || c->metric_list[index][n]))
        index++;
    if (index == c->metric_name_count) {
        char *copy = call_lend(c, n + 1);
        if (n)
            memcpy(copy, name, n);
        copy[n] = 0;
        const char **list = realloc(c->metric_list, (index + 1) * sizeof *list);
        if (!list)
            _exit(71);
        list[index] = copy;
        c->metric_list = list;
        c->metric_name_count++;
        put_text(&c->metric_names, (keel_str){copy, n});
    }
    uint32_t words[2] = {(uint32_t)index, (uint32_t)how};
    put_bytes(&c->metrics, words, sizeof words);
    put_f64(&c->metrics, value);
    c->metric_count++;
}

static const void *user(keel_call *c) {
    (void)c;
    return the_instance.component.user;
}

/* ---- parameters and facts */

static const parameter *find_parameter(call *c, const char *name) {
    size_t n = length_of(name);
    for (size_t i = 0; i < the_instance.parameter_count; i++) {
        const parameter *p = &the_instance.parameters[i];
        if (strlen(p->name) == n && memcmp(p->name, name ? name : "", n) == 0)
            return p;
    }
    call_fail(c, KEEL_E_MISSING, KW_UNDECLARED_PARAMETER, name ? name : "", n);
    return 0;
}

static void wrong_type(call *c, const parameter *p, const char *wanted) {
    call_says(c, KEEL_E_INVALID, "parameter \"%s\" is not %s", p->name, wanted);
}

static double num(keel_call *c, const char *name) {
    const parameter *p = find_parameter(of(c), name);
    if (!p)
        return 0;
    if (p->kind == KW_PARAM_NUMBER || p->kind == KW_PARAM_CHOICE)
        return p->number;
    wrong_type(of(c), p, "a number, a switch or a choice");
    return 0;
}

static keel_str str(keel_call *c, const char *name) {
    const parameter *p = find_parameter(of(c), name);
    if (!p)
        return absent;
    if (p->kind == KW_PARAM_STRING || p->kind == KW_PARAM_CHOICE)
        return p->string;
    wrong_type(of(c), p, "a string or a choice");
    return absent;
}

static keel_str json(keel_call *c, const char *name) {
    const parameter *p = find_parameter(of(c), name);
    return p ? p->json : absent;
}

static const double *list(keel_call *c, const char *name, size_t *n) {
    const parameter *p = find_parameter(of(c), name);
    if (n)
        *n = 0;
    if (!p)
        return 0;
    if (p->kind != KW_PARAM_LIST) {
        wrong_type(of(c), p, "a list of numbers");
        return 0;
    }
    if (n)
        *n = p->count;
    return p->list;
}

static double fact_of(keel_call *c_, const char *name) {
    const call *c = of(c_);
    if (!name)
        return NAN;
    if (strcmp(name, "step") == 0)
        return (double)c->step;
    if (strcmp(name, "epoch") == 0)
        return c->epoch;
    if (strcmp(name, "seed") == 0)
        return (double)the_instance.seed;
    for (size_t i = 0; i < c->fact_count; i++)
        if (strcmp(c->facts[i].name, name) == 0)
            return c->facts[i].value;
    return NAN;
}

static const char *phase(keel_call *c) { return of(c)->phase; }

static uint64_t random_of(keel_call *c_, size_t row, uint64_t n) {
    const call *c = of(c_);
    char place[4096 + 256];
    snprintf(place, sizeof place, "plugin/%s/%s", the_instance.name, c->phase);
    uint64_t time = c->stage == STAGE_ORDER ? (c->epoch > 0 ? (uint64_t)c->epoch : 0)
                                            : (c->step > 0 ? (uint64_t)c->step : 0);
    return random_bits(the_instance.seed, place, time, call_row_id(c, row), n);
}

/* ---- rows */

static size_t rows(keel_call *c) { return of(c)->rows; }

static bool has_row(call *c, size_t row) {
    if (row < c->rows)
        return true;
    call_says(c, KEEL_E_INVALID, "asked for row %zd of a batch of %zu", (ssize_t)row, c->rows);
    return false;
}

static keel_str *text_cells(call *c, const char *name) {
    for (size_t i = 0; name && i < c->text_count; i++)
        if (strcmp(c->texts[i].name, name) == 0)
            return c->texts[i].cells;
    return 0;
}

static keel_str text(keel_call *c_, const char *name, size_t row) {
    call *c = of(c_);
    if (!has_row(c, row))
        return absent;
    call_touch(c, row);
    const keel_str *cells = text_cells(c, name);
    return cells ? cells[row] : absent;
}

static keel_str field(keel_call *c_, size_t row, const char *pointer) {
    call *c = of(c_);
    char copy[4096 + 1];
    size_t n = length_of(pointer);
    if (!has_row(c, row))
        return absent;
    call_touch(c, row);
    if (n)
        memcpy(copy, pointer, n);
    copy[n] = 0;
    if (n > 0 && copy[0] != '/') {
        call_says(c, KEEL_E_INVALID, "\"%s\" is not a JSON pointer; write \"/%s\"", copy, copy);
        return absent;
    }
    const keel_str *cells = text_cells(c, "row");
    return cells ? row_field(c, cells[row], copy) : absent;
}

static const int32_t *tokens(keel_call *c_, size_t row, size_t *prompt, size_t *total) {
    call *c = of(c_);
    if (prompt)
        *prompt = 0;
    if (total)
        *total = 0;
    if (!has_row(c, row))
        return 0;
    call_touch(c, row);
    if (!c->tokens)
        return 0;
    if (prompt)
        *prompt = c->tokens[row].prompt;
    if (total)
        *total = c->tokens[row].total;
    return c->tokens[row].ids;
}

/* ---- what create, ask and save leave */

static keel_status need(keel_call *c_, const char *name) {
    call *c = of(c_);
    if (c->stage != STAGE_CREATE)
        return wrong_stage(c, "`need`", "`create`");
    put_text(&c->needs, (keel_str){name ? name : "", length_of(name)});
    c->need_count++;
    return KEEL_OK;
}

static keel_status reduction(keel_call *c_, const char *name, double constant) {
    static const char *const known[] = {"row_mean", "token_mean", "row_mean_of_token_mean",
                                        "constant"};
    call *c = of(c_);
    (void)constant;
    if (c->stage != STAGE_CREATE)
        return wrong_stage(c, "`reduction`", "`create`");
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i]) == 0)
            return KEEL_OK; /* nothing here is reduced */
    return call_says(c, KEEL_E_INVALID, "chose the unknown reduction \"%.*s\"",
                     (int)length_of(name), name ? name : "");
}

static keel_status put_cell(keel_call *c_, const char *name, size_t row, const char *p, size_t n) {
    call *c = of(c_);
    if (c->stage != STAGE_ASK)
        return wrong_stage(c, "`put_text`", "`ask`");
    if (!name || strcmp(name, "ask") != 0)
        return call_says(c, KEEL_E_INVALID, "puts the text column \"%.*s\"; `ask` gives \"ask\"",
                         (int)length_of(name), name ? name : "");
    if (row >= c->rows)
        return call_says(c, KEEL_E_INVALID, "puts text for row %zu of a batch of %zu", row,
                         c->rows);
    n = p ? n : 0;
    char *copy = call_lend(c, n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = 0;
    c->asked[row] = (keel_str){copy, n};
    return KEEL_OK;
}

static keel_status write_state(keel_call *c_, const void *bytes, size_t n) {
    call *c = of(c_);
    if (c->stage != STAGE_SAVE)
        return wrong_stage(c, "`write`", "`save`");
    if (!bytes && n > 0)
        return call_says(c, KEEL_E_INVALID, "writes %zu bytes from nowhere", n);
    put_bytes(&c->state, bytes, n);
    return KEEL_OK;
}

/* ---- tensors: they belong to `loss`, which never runs here */

static keel_t no_tensor(keel_call *c, const char *service) {
    wrong_stage(of(c), service, "`loss`");
    return (keel_t){0};
}

static void metric_t(keel_call *c, const char *name, keel_t t, int how) {
    (void)name, (void)t;
    if (how >= KEEL_MEAN && how <= KEEL_MAX)
        no_tensor(c, "`metric_t`");
}

static keel_t input(keel_call *c, const char *name) {
    (void)name;
    return no_tensor(c, "`input`");
}

static keel_t upload(keel_call *c, const keel_array *array) {
    (void)array;
    return no_tensor(c, "`upload`");
}

static keel_t op(keel_call *c, int code, const keel_t *in, size_t n, const double *k, size_t nk) {
    (void)code, (void)in, (void)n, (void)k, (void)nk;
    return no_tensor(c, "an operation");
}

static int op_supported(keel_call *c, int code) {
    static const int blocks[][2] = {{1, 8},     {20, 34},   {60, 67},  {80, 84},
                                    {100, 103}, {120, 126}, {140, 143}};
    (void)c;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (code >= blocks[i][0] && code <= blocks[i][1])
            return 1;
    return 0;
}

static int shape(keel_call *c, keel_t t, int64_t *lengths, size_t cap) {
    (void)t, (void)lengths, (void)cap;
    no_tensor(c, "`shape`");
    return -1;
}

static keel_status read_tensor(keel_call *c, keel_t t, keel_array *out) {
    (void)t;
    if (out)
        memset(out, 0, sizeof *out);
    no_tensor(c, "`read`");
    return KEEL_E_STATE;
}

static keel_status grad(keel_call *c, const char *name, const keel_array *array) {
    (void)name, (void)array;
    no_tensor(c, "`grad`");
    return KEEL_E_STATE;
}

const keel_host *host_table(void) {
    static const keel_host table = {
        .size = sizeof(keel_host),
        .api = KW_MINOR,
        .query = query,
        .fail = fail,
        .cancelled = cancelled,
        .log = log_line,
        .metric = metric,
        .metric_t = metric_t,
        .num = num,
        .str = str,
        .json = json,
        .list = list,
        .fact = fact_of,
        .phase = phase,
        .random = random_of,
        .rows = rows,
        .text = text,
        .field = field,
        .tokens = tokens,
        .need = need,
        .reduction = reduction,
        .has = host_has,
        .column = host_column,
        .put = host_put,
        .put_text = put_cell,
        .write = write_state,
        .input = input,
        .upload = upload,
        .op = op,
        .op_supported = op_supported,
        .shape = shape,
        .read = read_tensor,
        .grad = grad,
        .user = user,
    };
    return &table;
}
