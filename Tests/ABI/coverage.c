/* Touches every function of the host and every operation, and checks what they answer.
 *
 * Each use is marked where it is made; `save` writes the marks: one byte for each pointer-sized slot of keel_host, then
 * one for each operation code. CoverageTests.swift holds them against the header. A wrong answer is an error of the call. */
#include <math.h>
#include <stdio.h>
#include "keel.h"

enum { SLOTS = sizeof(keel_host) / sizeof(void *), CODES = 256 };
static uint8_t marks[SLOTS + CODES];

#define CALL(NAME, ...)                                                                            \
    (marks[offsetof(keel_host, NAME) / sizeof(void *)] = 1, c->host->NAME(__VA_ARGS__))

static keel_status wrong(keel_call *c, int line, const char *what) {
    char text[256];
    snprintf(text, sizeof text, "coverage.c:%d: %s", line, what);
    return CALL(fail, c, KEEL_E_INTERNAL, text);
}
#define EXPECT(...)                                                                                \
    do                                                                                             \
        if (!(__VA_ARGS__))                                                                        \
            return wrong(c, __LINE__, #__VA_ARGS__);                                               \
    while (0)

static keel_status save(void *self, keel_call *c) {
    (void)self;
    marks[offsetof(keel_host, write) / sizeof(void *)] = 1;
    return c->host->write(c, marks, sizeof marks);
}
static keel_status load(void *self, keel_call *c, uint32_t version, const void *bytes, size_t n) {
    (void)self, (void)bytes;
    return version == 7 && n == sizeof marks ? KEEL_OK : CALL(fail, c, KEEL_E_STATE, "not mine");
}
#define STATE .state_version = 7, .save = save, .load = load

/* ---------------------------------------------------------------- a reward: parameters, rows, text */

static const char mine[] = "mine";

static void *create(keel_call *c) {
    static int instance;
    size_t n = 9;
    if (CALL(num, c, "half") != 0.5 || CALL(num, c, "three") != 3 || CALL(num, c, "yes") != 1)
        wrong(c, __LINE__, "num");
    if (!keel_is(CALL(str, c, "word"), "w\xC3\xB6rd") || !keel_is(keel_string(c, "colour"), "blue"))
        wrong(c, __LINE__, "str");
    keel_str any = CALL(json, c, "any");
    if (keel_num(c, "colour") != 1 || !any.p || any.p[any.n] != 0 || !strstr(any.p, "null"))
        wrong(c, __LINE__, "json");
    const double *list = CALL(list, c, "numbers", &n);
    if (n != 3 || list[0] != 1 || list[2] != 2.5)
        wrong(c, __LINE__, "list");
    if (CALL(user, c) != mine || CALL(rows, c) != 0 || CALL(cancelled, c) != 0)
        wrong(c, __LINE__, "user, rows or cancelled");
    CALL(need, c, "model_scores?");
    return &instance;
}

static keel_status ask(void *self, keel_call *c, size_t n) {
    (void)self;
    EXPECT(CALL(put_text, c, "ask", 0, "why?", 4) == KEEL_OK);
    EXPECT(n > 1 && keel_put_text(c, "ask", 1, "how?\0", 5) == KEEL_OK);
    return KEEL_OK;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    size_t prompt = 0, total = 0;
    keel_array group;
    EXPECT(n == 2 && CALL(rows, c) == 2);
    EXPECT(isnan(out[0]) && isnan(out[1]));
    EXPECT(keel_is(CALL(text, c, "prompt", 0), "p0") && keel_is(keel_text(c, "response", 1), "r1"));
    EXPECT(!CALL(text, c, "reply", 0).p);
    EXPECT(keel_is(CALL(field, c, 0, "/answer"), "forty-two"));
    EXPECT(keel_is(keel_field(c, 0, "/list/1"), "2") && !keel_field(c, 1, "/answer").p);
    const int32_t *ids = CALL(tokens, c, 1, &prompt, &total);
    EXPECT(ids && prompt == 1 && total == 3 && ids[0] == 11 && ids[2] == 8);
    EXPECT(CALL(has, c, "group") && !keel_has(c, "ref_logprobs"));
    EXPECT(CALL(column, c, "group", &group) == KEEL_OK && group.ndim == 1 && group.bits == 32);
    EXPECT(group.code == KEEL_INT && keel_cells(&group) == 2 && keel_i32(&group)[1] == 5);
    EXPECT(CALL(phase, c) && strcmp(keel_phase_name(c), "policy") == 0);
    EXPECT(CALL(fact, c, "step") == 12 && isnan(keel_fact(c, "no such fact")));
    EXPECT(CALL(random, c, 0, 3) == keel_random(c, 0, 3) &&
           keel_random(c, 0, 3) != keel_random(c, 1, 3));
    EXPECT(keel_uniform(c, 0, 0) >= 0 && keel_uniform(c, 0, 0) < 1);
    EXPECT(CALL(query, c, "x.never/1") == 0);
    CALL(log, c, KEEL_LOG_DEBUG, "a line");
    CALL(metric, c, "two", 2, KEEL_MEAN);
    keel_metric_as(c, "most", 1, KEEL_MAX), keel_metric_as(c, "most", 3, KEEL_MAX);
    const double rewards[4] = {1, 2, 3, 4};
    const int64_t shape[2] = {2, 2};
    keel_array given = keel_array_f64(rewards, shape, 2);
    EXPECT(CALL(put, c, "token_rewards", &given) == KEEL_OK);
    out[0] = 1;
    return KEEL_OK;
}
static const keel_component reward = KEEL_REWARD(
        .name = "cover_reward", .help = "every service of rows, texts and parameters",
        KEEL_NEEDS("group"), KEEL_GIVES("token_rewards"), .user = mine, .flags = KEEL_COUPLED,
        KEEL_PARAMS(KEEL_PARAM_F64("half", 0.5, 0, 1, ""), KEEL_PARAM_I64("three", 3, 0, 9, ""),
                    KEEL_PARAM_BOOL("yes", 1, ""), KEEL_PARAM_STR("word", "w\xC3\xB6rd", ""),
                    KEEL_PARAM_ENUM("colour", "blue", "", "red", "blue"),
                    KEEL_PARAM_LIST("numbers", "[1, 2, 2.5]", 0, 9, ""),
                    KEEL_PARAM_JSON("any", "{\"a\": [1, null]}", "")),
        STATE, .create = create, .ask = ask, .score = score);

/* ---------------------------------------------------------------- an objective: every operation */

static int close_to(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-12 * (1 + fabs(b));
}

/* Runs one operation and compares its cells; the shape is told by its lengths, -1 ends them. */
static keel_t run(keel_call *c, int line, int code, const keel_t *in, size_t n, const double *k,
                  size_t nk, const double *want, const int64_t *lengths) {
    marks[SLOTS + code] = 1;
    keel_t y = CALL(op, c, code, in, n, k, nk);
    int64_t got[8] = {0};
    int rank = CALL(shape, c, y, got, 8);
    keel_array cells;
    if (CALL(read, c, y, &cells))
        return y;
    int ok = CALL(op_supported, c, code) && rank == cells.ndim;
    for (int axis = 0; ok && axis < rank; axis++)
        ok = lengths[axis] == got[axis] && cells.shape[axis] == got[axis];
    ok = ok && lengths[rank] == -1;
    for (size_t i = 0; ok && i < keel_cells(&cells); i++)
        ok = close_to(keel_f64(&cells)[i], want[i]);
    if (!ok) {
        char text[128];
        snprintf(text, sizeof text, "operation %d: not what its definition says", code);
        wrong(c, line, text);
    }
    return y;
}
#define LIST(...) ((const double[]){__VA_ARGS__})
#define LENGTHS(...) ((const int64_t[]){__VA_ARGS__, -1})
#define IN(...) ((const keel_t[]){__VA_ARGS__})
#define COUNT(T, ...) (sizeof((const T[]){__VA_ARGS__}) / sizeof(T))
#define OP(CODE, INPUTS, N, CONSTANTS, NK, WANT, SHAPE)                                            \
    run(c, __LINE__, CODE, INPUTS, N, CONSTANTS, NK, WANT, SHAPE)

enum { N = 9 };
static const double xs[N] = {-INFINITY, -30, -1, -1e-9, 0, 1e-9, 0.5, 30, NAN};

typedef double (*function)(double);
static double neg(double x) { return -x; }
static double square(double x) { return x * x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0); }
static double log_sigmoid(double x) { return -softplus(-x); }
static double relu(double x) { return x > 0 ? x : isnan(x) ? x : 0; }
static double reciprocal(double x) { return 1 / x; }
static double log1mexp(double x) {
    return x > -0.6931471805599453 ? log(-expm1(x)) : log1p(-exp(x));
}

static void unary(keel_call *c, keel_t x) {
    static const struct {
        int code;
        function f;
    } all[] = {{KEEL_OP_NEG, neg},           {KEEL_OP_EXP, exp},
               {KEEL_OP_LOG, log},           {KEEL_OP_LOG1P, log1p},
               {KEEL_OP_EXPM1, expm1},       {KEEL_OP_SQRT, sqrt},
               {KEEL_OP_SQUARE, square},     {KEEL_OP_ABS, fabs},
               {KEEL_OP_SIGMOID, sigmoid},   {KEEL_OP_LOG_SIGMOID, log_sigmoid},
               {KEEL_OP_SOFTPLUS, softplus}, {KEEL_OP_TANH, tanh},
               {KEEL_OP_RELU, relu},         {KEEL_OP_RECIPROCAL, reciprocal},
               {KEEL_OP_LOG1MEXP, log1mexp}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double want[N];
        for (int j = 0; j < N; j++)
            want[j] = all[i].f(xs[j]);
        OP(all[i].code, &x, 1, 0, 0, want, LENGTHS(N));
    }
}

static void with_constants(keel_call *c, keel_t x) {
    double k = 0.5, want[8][N];
    for (int j = 0; j < N; j++) {
        want[0][j] = k * xs[j], want[1][j] = xs[j] + k;
        want[2][j] = xs[j] > k, want[3][j] = xs[j] >= k, want[4][j] = xs[j] < k;
        want[5][j] = xs[j] <= k, want[6][j] = xs[j] == k;
        want[7][j] = isnan(xs[j]) ? NAN : fmin(fmax(xs[j], -1), INFINITY);
    }
    static const int codes[7] = {KEEL_OP_SCALE, KEEL_OP_OFFSET, KEEL_OP_GT, KEEL_OP_GE,
                                 KEEL_OP_LT,    KEEL_OP_LE,     KEEL_OP_EQ};
    for (int i = 0; i < 7; i++)
        OP(codes[i], &x, 1, &k, 1, want[i], LENGTHS(N));
    OP(KEEL_OP_CLAMP, &x, 1, LIST(-1, INFINITY), 2, want[7], LENGTHS(N));
}

static void binary(keel_call *c, keel_t x) {
    /* [9] against [2,1] gives [2,9] */
    const double two[2] = {2, -0.0};
    const int64_t shape[2] = {2, 1};
    keel_array array = keel_array_f64(two, shape, 2);
    keel_t b = CALL(upload, c, &array);
    double want[7][2 * N];
    for (int i = 0; i < 2 * N; i++) {
        double p = xs[i % N], q = two[i / N];
        want[0][i] = p + q, want[1][i] = p - q, want[2][i] = p * q, want[3][i] = p / q;
        want[4][i] = isnan(p) ? NAN : fmin(p, q), want[5][i] = isnan(p) ? NAN : fmax(p, q);
        want[6][i] = pow(p, q);
    }
    for (int i = 0; i < 7; i++)
        OP(KEEL_OP_ADD + i, IN(x, b), 2, 0, 0, want[i], LENGTHS(2, N));
    double chosen[2 * N];
    for (int i = 0; i < 2 * N; i++)
        chosen[i] = two[i / N] != 0 ? xs[i % N] : two[i / N];
    OP(KEEL_OP_WHERE, IN(b, x, b), 3, 0, 0, chosen, LENGTHS(2, N));
}

/* m = [[1, 5, 3], [4, 2, NaN]], the NaN masked out */
static void reductions(keel_call *c, keel_t m, keel_t mask) {
    const keel_t in[2] = {m, mask};
    OP(KEEL_OP_SUM, in, 2, 0, 0, LIST(15), LENGTHS(-1));
    OP(KEEL_OP_SUM, in, 2, LIST(-1), 1, LIST(9, 6), LENGTHS(2));
    OP(KEEL_OP_SUM, in, 2, LIST(0, 1), 2, LIST(5, 7, 3), LENGTHS(1, 3));
    OP(KEEL_OP_MEAN, in, 2, LIST(1, 1), 2, LIST(3, 3), LENGTHS(2, 1));
    OP(KEEL_OP_AMAX, in, 2, LIST(1), 1, LIST(5, 4), LENGTHS(2));
    OP(KEEL_OP_AMIN, in, 2, LIST(1), 1, LIST(1, 2), LENGTHS(2));
    OP(KEEL_OP_LOGSUMEXP, in, 2, LIST(1), 1,
       LIST(log(exp(1) + exp(5) + exp(3)), log(exp(4) + exp(2))), LENGTHS(2));
    OP(KEEL_OP_AMAX, &m, 1, LIST(1), 1, LIST(5, NAN), LENGTHS(2));
    /* over no cells */
    keel_t none = OP(KEEL_OP_SCALE, &mask, 1, LIST(0), 1, LIST(0, 0, 0, 0, 0, 0), LENGTHS(2, 3));
    const keel_t empty[2] = {m, none};
    OP(KEEL_OP_SUM, empty, 2, 0, 0, LIST(0), LENGTHS(-1));
    OP(KEEL_OP_MEAN, empty, 2, 0, 0, LIST(0), LENGTHS(-1));
    OP(KEEL_OP_AMAX, empty, 2, 0, 0, LIST(-INFINITY), LENGTHS(-1));
    OP(KEEL_OP_AMIN, empty, 2, 0, 0, LIST(INFINITY), LENGTHS(-1));
    OP(KEEL_OP_LOGSUMEXP, empty, 2, 0, 0, LIST(-INFINITY), LENGTHS(-1));
    /* whiten: mean 3, var 2 of the five cells; the rule holds outside of the mask as well */
    double s = sqrt(2 + 1e-8), u = sqrt(2.5 + 0.5);
    OP(KEEL_OP_WHITEN, in, 2, 0, 0, LIST(-2 / s, 2 / s, 0, 1 / s, -1 / s, NAN), LENGTHS(2, 3));
    OP(KEEL_OP_WHITEN, in, 2, LIST(0.5, 1, 1), 3,
       LIST(3 - 2 / u, 3 + 2 / u, 3, 3 + 1 / u, 3 - 1 / u, NAN), LENGTHS(2, 3));
    OP(KEEL_OP_WHITEN, empty, 2, 0, 0, LIST(1, 5, 3, 4, 2, NAN), LENGTHS(2, 3));
}

static void along_an_axis(keel_call *c, keel_t m) {
    double a = exp(-4) + 1 + exp(-2);
    keel_t first = OP(KEEL_OP_SLICE, &m, 1, LIST(0, 0, 1), 3, LIST(1, 5, 3), LENGTHS(1, 3));
    OP(KEEL_OP_SOFTMAX, &first, 1, 0, 0, LIST(exp(-4) / a, 1 / a, exp(-2) / a), LENGTHS(1, 3));
    OP(KEEL_OP_LOG_SOFTMAX, &first, 1, LIST(1), 1, LIST(-4 - log(a), -log(a), -2 - log(a)),
       LENGTHS(1, 3));
    OP(KEEL_OP_SOFTMAX, &first, 1, LIST(0), 1, LIST(1, 1, 1), LENGTHS(1, 3));
    OP(KEEL_OP_CUMSUM, &first, 1, 0, 0, LIST(1, 6, 9), LENGTHS(1, 3));
    OP(KEEL_OP_CUMSUM, &first, 1, LIST(-1, 1), 2, LIST(9, 8, 3), LENGTHS(1, 3));
    OP(KEEL_OP_SORT, &m, 1, 0, 0, LIST(1, 3, 5, 2, 4, NAN), LENGTHS(2, 3));
    OP(KEEL_OP_SORT, &m, 1, LIST(1, 1), 2, LIST(5, 3, 1, 4, 2, NAN), LENGTHS(2, 3));
    keel_t low = OP(KEEL_OP_FULL, 0, 0, LIST(-INFINITY, 1, 2), 3, LIST(-INFINITY, -INFINITY),
                    LENGTHS(1, 2));
    OP(KEEL_OP_SOFTMAX, &low, 1, 0, 0, LIST(NAN, NAN), LENGTHS(1, 2));
    OP(KEEL_OP_LOG_SOFTMAX, &low, 1, 0, 0, LIST(NAN, NAN), LENGTHS(1, 2));
    OP(KEEL_OP_LOGSUMEXP, &low, 1, 0, 0, LIST(-INFINITY), LENGTHS(-1));
}

static void shapes(keel_call *c, keel_t m) {
    const double *all = LIST(1, 5, 3, 4, 2, NAN);
    OP(KEEL_OP_RESHAPE, &m, 1, LIST(3, -1), 2, all, LENGTHS(3, 2));
    OP(KEEL_OP_SLICE, &m, 1, LIST(1, -2, 99), 3, LIST(5, 3, 2, NAN), LENGTHS(2, 2));
    OP(KEEL_OP_CONCAT, IN(m, m), 2, LIST(-1), 1, LIST(1, 5, 3, 1, 5, 3, 4, 2, NAN, 4, 2, NAN),
       LENGTHS(2, 6));
    const int32_t picks[2] = {1, 1};
    const int64_t line[1] = {2}, column[2] = {2, 1};
    keel_array ids = keel_array_i32(picks, line, 1), cells = keel_array_i32(picks, column, 2);
    keel_t i = keel_upload(c, &ids), j = keel_upload(c, &cells);
    OP(KEEL_OP_INDEX, IN(m, i), 2, 0, 0, LIST(4, 2, NAN, 4, 2, NAN), LENGTHS(2, 3));
    OP(KEEL_OP_INDEX, IN(m, i), 2, LIST(1), 1, LIST(5, 5, 2, 2), LENGTHS(2, 2));
    OP(KEEL_OP_GATHER, IN(m, j), 2, 0, 0, LIST(5, 2), LENGTHS(2, 1));
    OP(KEEL_OP_BROADCAST, IN(j), 1, LIST(3, -1, 2), 3, LIST(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
       LENGTHS(3, 2, 2));
    OP(KEEL_OP_TRANSPOSE, &m, 1, 0, 0, LIST(1, 4, 5, 2, 3, NAN), LENGTHS(3, 2));
    OP(KEEL_OP_TRANSPOSE, &m, 1, LIST(0, 1), 2, all, LENGTHS(2, 3));
    OP(KEEL_OP_DETACH, &m, 1, 0, 0, all, LENGTHS(2, 3));
    OP(KEEL_OP_CAST, &m, 1, LIST(KEEL_FLOAT, 64), 2, all, LENGTHS(2, 3));
    keel_t part = OP(KEEL_OP_FULL, 0, 0, LIST(-1.75, 2), 2, LIST(-1.75, -1.75), LENGTHS(2));
    OP(KEEL_OP_CAST, &part, 1, LIST(KEEL_INT, 32), 2, LIST(-1, -1), LENGTHS(2));
    OP(KEEL_OP_FULL, 0, 0, LIST(7), 1, LIST(7), LENGTHS(-1));
}

static keel_status prepare(void *self, keel_call *c) {
    (void)self;
    keel_array logprobs;
    EXPECT(keel_column(c, "logprobs", &logprobs) == KEEL_OK && logprobs.code == KEEL_FLOAT);
    EXPECT(logprobs.bits == 64 && logprobs.strides && logprobs.byte_offset == 0);
    keel_array weight = keel_array_f64(keel_f64(&logprobs), logprobs.shape, logprobs.ndim);
    return keel_put(c, "mine", &weight);
}

static keel_t loss(void *self, keel_call *c) {
    (void)self;
    const double m[6] = {1, 5, 3, 4, 2, NAN}, mask[6] = {1, 1, 1, 1, 1, 0};
    const int64_t line[1] = {N}, matrix[2] = {2, 3};
    keel_array x = keel_array_f64(xs, line, 1), cells = keel_array_f64(m, matrix, 2),
               marked = keel_array_f64(mask, matrix, 2);
    unary(c, keel_upload(c, &x));
    with_constants(c, keel_upload(c, &x));
    binary(c, keel_upload(c, &x));
    reductions(c, keel_upload(c, &cells), keel_upload(c, &marked));
    along_an_axis(c, keel_upload(c, &cells));
    shapes(c, keel_upload(c, &cells));
    if (keel_op_supported(c, 0) || keel_op_supported(c, 9999))
        wrong(c, __LINE__, "operations that are none are supported");
    keel_t logprobs = CALL(input, c, "logprobs");
    CALL(metric_t, c, "logprob", logprobs, KEEL_MEAN);
    return keel_mul(c, logprobs, keel_in(c, "mine"));
}
static void *choose(keel_call *c) {
    CALL(reduction, c, "constant", 2);
    return 0;
}
static const keel_component objective = KEEL_OBJECTIVE(.name = "cover_ops",
                                                       .help = "every operation", .data = "text",
                                                       KEEL_NEEDS("logprobs"), KEEL_GIVES("mine"),
                                                       STATE, .create = choose, .prepare = prepare,
                                                       .loss = loss);

/* ---------------------------------------------------------------- explicit gradients */

/* sum of logprobs^2 per row, and 2 logprobs */
static keel_t squares(void *self, keel_call *c) {
    (void)self;
    keel_array x;
    double value[8] = {0}, slope[64];
    if (keel_read(c, keel_in(c, "logprobs"), &x) || keel_cells(&x) > 64)
        return keel_full(c, 0);
    for (size_t i = 0; i < keel_cells(&x); i++) {
        value[i / (size_t)x.shape[1]] += keel_f64(&x)[i] * keel_f64(&x)[i];
        slope[i] = 2 * keel_f64(&x)[i];
    }
    keel_array gradient = keel_array_f64(slope, x.shape, 2),
               rows = keel_array_f64(value, x.shape, 1);
    CALL(grad, c, "logprobs", &gradient);
    return keel_upload(c, &rows);
}
static const keel_component explicit_gradient = KEEL_OBJECTIVE(.name = "cover_grad",
                                                               .help = "explicit gradients",
                                                               .data = "text",
                                                               KEEL_NEEDS("logprobs"),
                                                               .flags = KEEL_EXPLICIT_GRAD, STATE,
                                                               .loss = squares);

/* ---------------------------------------------------------------- one operation, for the tests of its gradient */

static keel_t one_operation(void *self, keel_call *c) {
    (void)self;
    size_t nk = 0, n = (size_t)keel_num(c, "inputs");
    const double *k = keel_list(c, "k", &nk);
    const keel_t in[3] = {keel_in(c, "seq_logprobs"), keel_in(c, "scores"), keel_in(c, "rewards")};
    const keel_t turned[3] = {in[2], in[0], in[1]};
    int code = (int)keel_num(c, "code");
    keel_t y = keel_op(c, code, code == KEEL_OP_WHERE ? turned : in, n, k, nk);
    return keel_num(c, "silent") != 0 ? keel_scale(c, y, 0) : y;
}
static const keel_component one = KEEL_OBJECTIVE(
        .name = "cover_one", .help = "one operation on seq_logprobs and scores", .data = "text",
        KEEL_NEEDS("seq_logprobs", "scores", "rewards"), .reduction = "constant",
        KEEL_PARAMS(KEEL_PARAM_I64("code", 1, 0, 255, ""), KEEL_PARAM_I64("inputs", 1, 1, 3, ""),
                    KEEL_PARAM_LIST("k", "[]", 0, 0, ""), KEEL_PARAM_BOOL("silent", 0, "")),
        .loss = one_operation);

/* ---------------------------------------------------------------- samplers */

static keel_status sample(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                          int32_t *token) {
    (void)self;
    size_t prompt, total;
    EXPECT(logits->ndim == 2 && logits->code == KEEL_FLOAT && logits->bits == 32);
    for (size_t b = 0; b < (size_t)logits->shape[0]; b++) {
        uint8_t *count = (uint8_t *)seq[b];
        EXPECT(keel_tokens(c, b, &prompt, &total) && total > prompt);
        keel_f32(logits)[b * (size_t)logits->shape[1]] = -INFINITY;
        token[b] = ++*count > 1 ? 1 : -1;
    }
    return KEEL_OK;
}
static const keel_component token_sampler = KEEL_TOKEN_SAMPLER(
        .name = "cover_tokens", .help = "never token 0; from the second one on token 1",
        .seq_bytes = 1, STATE, .sample = sample);

static keel_status order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)((i + (size_t)epoch) % keel_rows(c));
    return KEEL_OK;
}
static keel_status feedback(void *self, keel_call *c, const int64_t *rows, size_t n) {
    (void)self;
    keel_array rewards;
    EXPECT(keel_column(c, "rewards", &rewards) == KEEL_OK && keel_cells(&rewards) == n && n == 2);
    EXPECT(rows[0] == 4 && rows[1] == 2 && keel_f64(&rewards)[0] == 0.25);
    return KEEL_OK;
}
static const keel_component data_sampler = KEEL_DATA_SAMPLER(.name = "cover_order",
                                                             .help = "rotates by the epoch",
                                                             KEEL_NEEDS("rewards"), STATE,
                                                             .feedback = feedback, .order = order);

/* ---------------------------------------------------------------- extensions of the plugin's own */

static const uint32_t table[2] = {sizeof table, 42};
static const void *query(const char *component, const char *id) {
    return component && strcmp(component, "cover_order") == 0 && strcmp(id, "x.answer/1") == 0
               ? table
               : 0;
}

KEEL_PLUGIN_QUERY("test.coverage", "1.0.0", query, &reward, &objective, &explicit_gradient, &one,
                  &token_sampler, &data_sampler)
