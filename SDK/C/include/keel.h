/* keel.h - the contract between Keel and its plugins, and its only source of truth.
 *
 * A plugin is a shared library that exports one function, `keel_plugin_v1`, and links nothing of
 * Keel: `cc -shared -fPIC -I DIR_OF_THIS_FILE reward.c -o libreward.so`. It describes components: rewards,
 * objectives, token samplers, data samplers. Every callback receives a `keel_call`, whose first word
 * is the host's function table; the inline wrappers below call through it.
 *
 * Rules. What a call hands over is valid until the callback returns, where nothing else is said; nobody frees
 * the other side's memory. No exception, longjmp or exit may leave a callback. Structs begin with `size` and grow only
 * at the end; numbers are never reused; zero always means "as before". Plugins are never unloaded.
 *
 * Errors: the first of a call is kept and ends it once the callback returns, so formulas need no checks. A host function
 * that cannot do what it is asked records one and gives 0, null or the poisoned tensor, or returns its code.
 *
 * Threads: [call] the thread the callback runs on: the main thread of a worker process for rewards and data samplers
 * (always the same one), the run's loop thread for all else; never two callbacks of one instance at once, unless
 * KEEL_PARALLEL. [any] also threads that the callback starts and joins before it returns. */
#ifndef KEEL_H
#define KEEL_H
/* Laid out by hand, as tables. */
/* clang-format off */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef KEEL_API
#define KEEL_API 0 /* the minor you ask for: define it before the include to use newer functions */
#endif
#ifdef __cplusplus
extern "C" {
#define KEEL_EXPORT extern "C" __attribute__((visibility("default")))
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* left-out fields are zero: intended */
#define KEEL_LIST_(T, ...) ([] { static const T list[] = {__VA_ARGS__}; return (const T *)list; }())
#define KEEL_COUNT_(T, ...) ([] { const T list[] = {__VA_ARGS__}; return (uint32_t)(sizeof list / sizeof *list); }())
#else
#define KEEL_EXPORT __attribute__((visibility("default")))
#define KEEL_LIST_(T, ...) ((const T[]){__VA_ARGS__})
#define KEEL_COUNT_(T, ...) ((uint32_t)(sizeof((const T[]){__VA_ARGS__}) / sizeof(T)))
#endif

/* ---------------------------------------------------------------- values */
typedef struct keel_str { const char *p; size_t n; } keel_str;    /* bytes, no final NUL; p null = absent */
typedef struct keel_t { uint64_t id; } keel_t;                    /* a tensor of this call; 0 = poisoned */
typedef const char *keel_name;

/* A borrowed array, laid out as DLPack's DLTensor: CPU, row-major. From the host strides are filled and
 * byte_offset is 0; do not assume alignment beyond the element's. To the host strides may be null. */
typedef struct keel_array {
    void *data;
    int32_t device_type, device_id; /* 1, 0: this machine's memory */
    int32_t ndim;
    uint8_t code, bits; /* KEEL_INT, KEEL_FLOAT ... and 32 or 64 */
    uint16_t lanes;     /* 1 */
    const int64_t *shape, *strides; /* in elements */
    uint64_t byte_offset;
} keel_array;
enum { KEEL_INT = 0, KEEL_UINT = 1, KEEL_FLOAT = 2, KEEL_BFLOAT = 4, KEEL_BOOL = 6 };
#ifdef DLPACK_DLPACK_H_ /* included before this file: the compiler checks that the layouts are one */
typedef char keel_array_is_dltensor_[sizeof(DLTensor) == sizeof(keel_array) && offsetof(DLTensor, dtype) == offsetof(keel_array, code) && offsetof(DLTensor, byte_offset) == offsetof(keel_array, byte_offset) ? 1 : -1];
#endif

typedef int32_t keel_status;
enum {
    KEEL_OK = 0,
    KEEL_E_INVALID = 1,     /* a value or shape that cannot be used */
    KEEL_E_MISSING = 2,     /* a column, field or parameter that is not there */
    KEEL_E_UNSUPPORTED = 3, /* this host or build cannot do it */
    KEEL_E_STATE = 4,       /* called at the wrong time, or a state blob that cannot be read */
    KEEL_E_CANCELLED = 5,   /* the run is stopping */
    KEEL_E_INTERNAL = 6
};
enum { KEEL_LOG_DEBUG = 0, KEEL_LOG_INFO = 1, KEEL_LOG_WARNING = 2, KEEL_LOG_ERROR = 3 };
enum { KEEL_MEAN = 0, KEEL_SUM = 1, KEEL_MIN = 2, KEEL_MAX = 3 }; /* how a metric is merged */

/* ---------------------------------------------------------------- tensor operations
 * Inputs are tensors, constants `k` are doubles; arithmetic is f32 in training, f64 under --dtype f64, and i32 inputs
 * become floats. Binary operations broadcast by numpy's rules; an axis may be negative. IEEE 754 holds: 1/0 is infinite,
 * NaN gives NaN; comparisons give 0 or 1, with NaN 0, and no gradient. Where all incoming gradients are 0 the outgoing
 * one is 0, beside an infinite slope too. Shapes that do not fit are errors. A number belongs to its definition for ever; a corrected one is new. */
enum {
    /* two inputs (where: three) */
    KEEL_OP_ADD = 1, KEEL_OP_SUB = 2, KEEL_OP_MUL = 3, KEEL_OP_DIV = 4, /* a + b, a - b, a * b, a / b */
    KEEL_OP_MIN = 5,   /* the smaller; NaN if either is; equal: half the gradient to each */
    KEEL_OP_MAX = 6,   /* the larger; likewise */
    KEEL_OP_POW = 7,   /* a ^ b as C's pow; gradient of a: b a^(b-1), 0 where b is 0; of b: a^b log a, 0 where a is 0 */
    KEEL_OP_WHERE = 8, /* cond != 0 ? a : b; the side not taken gets gradient 0, even if it is NaN */
    /* one input */
    KEEL_OP_NEG = 20,         /* -x */
    KEEL_OP_EXP = 21,         /* e^x */
    KEEL_OP_LOG = 22,         /* natural logarithm; log 0 = -inf, below 0 NaN */
    KEEL_OP_LOG1P = 23,       /* log(1 + x), accurate near 0 */
    KEEL_OP_EXPM1 = 24,       /* e^x - 1, accurate near 0 */
    KEEL_OP_SQRT = 25,        /* square root; below 0 NaN */
    KEEL_OP_SQUARE = 26,      /* x * x */
    KEEL_OP_ABS = 27,         /* |x|; gradient 0 at 0 */
    KEEL_OP_SIGMOID = 28,     /* 1 / (1 + e^-x), no overflow */
    KEEL_OP_LOG_SIGMOID = 29, /* min(x, 0) - log1p(e^-|x|) */
    KEEL_OP_SOFTPLUS = 30,    /* max(x, 0) + log1p(e^-|x|) */
    KEEL_OP_TANH = 31,        /* hyperbolic tangent */
    KEEL_OP_RELU = 32,        /* max(x, 0); gradient 0 at 0 */
    KEEL_OP_RECIPROCAL = 33,  /* 1 / x */
    KEEL_OP_LOG1MEXP = 34,    /* log(1 - e^x): log(-expm1(x)) if x > -ln 2, else log1p(-e^x); -inf at 0, above NaN */
    /* one input and constants */
    KEEL_OP_SCALE = 60,  /* k0 * x */
    KEEL_OP_OFFSET = 61, /* x + k0 */
    KEEL_OP_CLAMP = 62,  /* min(max(x, k0), k1), k0 <= k1, may be infinite; gradient 1 for k0 <= x <= k1, else 0 */
    KEEL_OP_GT = 63,     /* x > k0 */
    KEEL_OP_GE = 64,     /* x >= k0 */
    KEEL_OP_LT = 65,     /* x < k0 */
    KEEL_OP_LE = 66,     /* x <= k0 */
    KEEL_OP_EQ = 67,     /* x == k0 */
    /* reductions. k: none = over all cells, to shape []; {axis} = over that axis, which goes;
     * {axis, 1} = which stays with length 1. A second input is a mask, a constant that broadcasts to x: cells where
     * it is 0 are left out by selection, so NaN there does no harm. Over no cells: 0, 0, -inf, inf, -inf. */
    KEEL_OP_SUM = 80, KEEL_OP_MEAN = 81,
    KEEL_OP_AMAX = 82, /* equal cells share the gradient evenly */
    KEEL_OP_AMIN = 83,
    KEEL_OP_LOGSUMEXP = 84, /* log sum e^x, without overflow; all -inf: -inf with gradient 0 */
    /* along one axis, k0 (none = the last); softmax and log_softmax of only -inf are NaN */
    KEEL_OP_SOFTMAX = 100,     /* e^x / sum e^x */
    KEEL_OP_LOG_SOFTMAX = 101, /* x - log sum e^x */
    KEEL_OP_CUMSUM = 102,      /* running sum, this cell included; k1 = 1: from the end */
    KEEL_OP_SORT = 103,        /* ascending, stable, NaN last; k1 = 1: descending; the gradient follows the cells */
    /* shape */
    KEEL_OP_RESHAPE = 120,   /* k = the new shape, at most one -1 */
    KEEL_OP_SLICE = 121,     /* k = axis, start, stop; as Python's x[start:stop] on that axis, clipped to it */
    KEEL_OP_CONCAT = 122,    /* n inputs along axis k0, all other lengths equal */
    KEEL_OP_INDEX = 123,     /* x, i (1-d): slices i[0], i[1] ... of axis k0 (none = 0), each 0 ..< length; repeats add up in the gradient */
    KEEL_OP_GATHER = 124,    /* x, i (same leading shape): out[..., j] = x[..., i[..., j]] along the last axis, each 0 ..< length */
    KEEL_OP_BROADCAST = 125, /* k = the new shape, numpy's rules; -1 keeps a length */
    KEEL_OP_TRANSPOSE = 126, /* k = the order of the axes; none = the last two swapped */
    /* control */
    KEEL_OP_DETACH = 140, /* x as a constant */
    KEEL_OP_CAST = 141,   /* k0 = code, k1 = bits; f32, f64: as it is, with gradient; i32: towards 0, a constant */
    KEEL_OP_WHITEN = 142, /* (x - mean) / sqrt(var + k0), a constant; k0 none = 1e-8; k1 = 1: the mean is added back, k2 = 1: var
                             divides by n - 1; second input: the mask of mean and var; fewer than two cells: x */
    KEEL_OP_FULL = 143    /* no input; k = value, then the shape (none = []) */
};

/* ---------------------------------------------------------------- parameters */
enum { KEEL_TYPE_F64 = 1, KEEL_TYPE_I64 = 2, KEEL_TYPE_BOOL = 3, KEEL_TYPE_STR = 4, KEEL_TYPE_ENUM = 5, KEEL_TYPE_F64_LIST = 6, KEEL_TYPE_JSON = 7 };
/* One parameter. The host refuses unknown keys, wrong types and ranges before `create`, and fills defaults. */
typedef struct keel_param {
    keel_name name;
    int32_t type;          /* KEEL_TYPE_* */
    int32_t reserved;      /* 0 */
    double value;          /* default of f64, i64 (exact to 2^53), bool */
    double min, max;       /* both ends allowed; of f64, i64, every number of a list; may be infinite; both 0: none */
    const char *text;      /* default of str and enum; of list and json as JSON text; null = "" or null */
    const keel_name *choices; /* of enum, null-terminated */
    const char *help;      /* one sentence for `keel plugin info` */
} keel_param;

/* ---------------------------------------------------------------- the host */
typedef struct keel_call keel_call;
typedef struct keel_host {
    uint32_t size, api; /* of this table; the host's minor version */

    /* The table of an optional area ("keel.logits/1"), which begins with `size`; null when unknown, no error. Lives as long as the process. [any] */
    const void *(*query)(keel_call *c, const char *id);
    /* Records an error unless one is recorded already; returns `code`. The text is copied. [any] */
    keel_status (*fail)(keel_call *c, keel_status code, const char *text);
    /* 1 when the run is stopping: return soon. [any] */
    int (*cancelled)(keel_call *c);
    /* Writes one line to the run's log, rate-limited; KEEL_LOG_*. The text is copied. No errors. [any] */
    void (*log)(keel_call *c, int level, const char *text);
    /* Adds a number to a metric of this step; `how` = KEEL_MEAN ... NaN is left out. The name is copied. No errors. [call] */
    void (*metric)(keel_call *c, const char *name, double value, int how);
    /* In `loss`. Adds the cells of a tensor: [B] the rows that count, [B,T] the cells under the mask, [] one number. NaN cells are
     * left out; sums and counts are merged over micro-batches and ranks. Other shapes: an error. [call] */
    void (*metric_t)(keel_call *c, const char *name, keel_t t, int how);

    /* A declared parameter as a number: f64, i64, bool (0, 1), enum (index of the choice). Undeclared or of another type: an error and 0. [call] */
    double (*num)(keel_call *c, const char *param);
    /* A declared parameter of type str or enum, with a final NUL. Lives as long as the instance. Else an error and absent. [call] */
    keel_str (*str)(keel_call *c, const char *param);
    /* Any declared parameter as JSON text, with a final NUL. Lives as long as the instance. Undeclared: an error and absent. [call] */
    keel_str (*json)(keel_call *c, const char *param);
    /* The numbers of a list parameter, their count in `n`. Live as long as the instance. Else an error, null and 0. [call] */
    const double *(*list)(keel_call *c, const char *param, size_t *n);
    /* A fact of the run: "step", "epoch", "seed", "vocab_size", "eos_token_id" (further ones "eos_token_id.1" ...), "pad_token_id", "temperature",
     * "max_completion_length", "num_generations", "rows_per_step", "rollout_rows", "desirable_rows", "undesirable_rows"; NaN when unknown. [call] */
    double (*fact)(keel_call *c, const char *name);
    /* The name of the phase this call belongs to; "policy" where none are declared. [call] */
    const char *(*phase)(keel_call *c);
    /* 64 random bits: a pure function of run seed, instance name, phase, step or epoch, the row's permanent id
     * and n. Same arguments, same bits; there is no state to save. Data samplers pass row 0. No errors. [any] */
    uint64_t (*random)(keel_call *c, size_t row, uint64_t n);

    /* Rows of this batch; in `order` the rows of the data set; 0 in create, save and load. [call] */
    size_t (*rows)(keel_call *c);
    /* A text cell: "prompt", "response", "row" (the data set row as JSON), "reply" (of the judge); absent: p null. No such row: an error. [call] */
    keel_str (*text)(keel_call *c, const char *column, size_t row);
    /* The value at a JSON pointer ("/answer") of the data set row: a string's own bytes, anything else as JSON text; absent
     * or null: p null. No such row, or no pointer: an error. [call] */
    keel_str (*field)(keel_call *c, size_t row, const char *pointer);
    /* The token ids of a row, prompt first, `total` in all; null when there are none. In `sample` all ids so far. No such row: an error. [call] */
    const int32_t *(*tokens)(keel_call *c, size_t row, size_t *prompt, size_t *total);
    /* In `create`: asks for one more column; a name that ends in '?' is welcome but not required. Of an objective a kind of data
     * ("scored"): its rows are of this kind instead of the component's. Copied. Elsewhere: an error. [call] */
    keel_status (*need)(keel_call *c, const char *column);
    /* In `create`: chooses the reduction (see keel_component); `constant` is the denominator of "constant", 0 = the host's. Unknown: an error. [call] */
    keel_status (*reduction)(keel_call *c, const char *name, double constant);
    /* 1 when this call has the column (as an array, a tensor or text) and the component needs it, else 0. Never an error. [call] */
    int (*has)(keel_call *c, const char *column);
    /* A column as an array: floating columns are f64, ids, ranks and groups i32. The array is the host's: read only, until the
     * callback returns. Missing, not among the needs, or in `loss` (use `input`): an error, and `out` is empty. [call] */
    keel_status (*column)(keel_call *c, const char *name, keel_array *out);
    /* In `prepare` and `score`: gives a column, [B] or [B,T]; f32, f64, i32 or i64. Copied. Per-token rewards: "token_rewards", cell t
     * belongs to response token t. Not among `gives`, or not B rows: an error. [call] */
    keel_status (*put)(keel_call *c, const char *name, const keel_array *array);
    /* In `ask`: gives row `row` of the text column "ask". Copied. No such row or column: an error. [call] */
    keel_status (*put_text)(keel_call *c, const char *column, size_t row, const char *p, size_t n);
    /* In `save`: appends bytes to the state. Copied. Elsewhere: an error. [call] */
    keel_status (*write)(keel_call *c, const void *bytes, size_t n);

    /* The functions from here to `grad` belong to `loss`. They never crash on a poisoned, stale or foreign tensor: they record an
     * error, which names operation and shapes, and give the poisoned tensor. After an error all of them do. All [call]. */

    /* A column as a tensor: of the current policy (logprobs, seq_logprobs, mean_logprobs, entropy, values, seq_values,
     * scores, vocab_logprobs, with any prefix) with gradient, all others constants. Missing or not among the needs: an error. */
    keel_t (*input)(keel_call *c, const char *column);
    /* A constant tensor from an array (f32, f64, i32, i64). Copied. */
    keel_t (*upload)(keel_call *c, const keel_array *array);
    /* Records one operation: n inputs, nk constants. Both arrays are read before it returns. */
    keel_t (*op)(keel_call *c, int code, const keel_t *in, size_t n, const double *k, size_t nk);
    /* 1 when this host knows the operation. Never an error, in every callback. [any] */
    int (*op_supported)(keel_call *c, int code);
    /* The number of dimensions of a tensor, or -1 when poisoned; fills at most `cap` lengths. */
    int (*shape)(keel_call *c, keel_t t, int64_t *lengths, size_t cap);
    /* The value of a tensor as an f64 array of the host, read only, until the callback returns; forces it to be computed. */
    keel_status (*read)(keel_call *c, keel_t t, keel_array *out);
    /* With KEEL_EXPLICIT_GRAD: the gradient of the sum of the returned loss by one column, in its shape. Copied. A constant column
     * or another shape: an error. */
    keel_status (*grad)(keel_call *c, const char *column, const keel_array *array);
    /* The component's own `user` pointer, as it stands in its descriptor. In every callback. [any] */
    const void *(*user)(keel_call *c);
} keel_host;

struct keel_call { const keel_host *host; /* the rest is the host's */ };

/* ---------------------------------------------------------------- what a plugin describes */
enum { KEEL_KIND_REWARD = 1, KEEL_KIND_OBJECTIVE = 2, KEEL_KIND_TOKEN_SAMPLER = 3, KEEL_KIND_DATA_SAMPLER = 4 };
enum {
    KEEL_PARALLEL = 1,          /* score, sample: may run on several threads at once */
    KEEL_COUPLED = 2,           /* rows depend on each other: whole groups only, never split; a loss may be [G] */
    KEEL_NONDETERMINISTIC = 4,  /* uses a clock, a network ...: the run cannot be replayed */
    KEEL_EXPLICIT_GRAD = 8,     /* `loss` uploads its value and calls keel_grad */
    KEEL_LINEAR = 16,           /* a scalar loss is the row-weighted mean over parts of the batch */
    KEEL_PREPARE_DATASET = 32   /* `prepare` runs once over all rows of the phase; [N] columns only */
};

/* A part of the training with its own loss. Lists end with null; null = as the component says. */
typedef struct keel_phase {
    keel_name name;
    keel_name data;
    const keel_name *needs;
    const keel_name *trains;   /* "policy" "critic" "value_head" "reward_head"; null = the policy */
    keel_name reduction;
    keel_name epochs, steps;   /* the parameter that holds its length, one of the two; null = the run's */
    uint64_t flags;            /* KEEL_PREPARE_DATASET */
    keel_status (*prepare)(void *self, keel_call *c);
    keel_t (*loss)(void *self, keel_call *c);
} keel_phase;

/* One reward, objective or sampler. Data first, callbacks last; all callbacks but the kind's main one are
 * optional; lists end with null. Life: create, load?, { prepare | ask | score | loss | sample | order | feedback | save }, destroy. */
typedef struct keel_component {
    uint32_t size;
    int32_t kind;              /* KEEL_KIND_* */
    keel_name name;            /* what configs call it: [a-z0-9_]+ */
    const char *help;          /* one sentence */
    keel_name data;            /* objective: "text" "pairs" "ranked" "scored" "unpaired" "rollouts" */
    const keel_name *needs;    /* columns that must be there; "name?" = used when there */
    const keel_name *gives;    /* columns that `prepare` or `score` puts; columns of later stages */
    const keel_name *heads;    /* what it reads values or scores of, a list: "critic", "value_head:linear", "value_head:attention_pool", "value_head:mlp_pool", "reward_head" */
    /* How the host makes one number of the losses, over all micro-batches and ranks; null = "row_mean":
     * "row_mean" of the rows' token sums, "token_mean", "row_mean_of_token_mean", "constant" (sum / a fixed number). */
    keel_name reduction;
    const keel_param *params;
    uint32_t param_count, param_stride;
    const keel_phase *phases;  /* in order; none = one, called "policy" */
    uint32_t phase_count, phase_stride;
    uint64_t flags;            /* KEEL_PARALLEL ... */
    uint32_t seq_bytes;        /* token sampler: bytes of host memory that travel with each sequence */
    uint32_t state_version;    /* given back to `load` */
    const void *user;          /* yours; keel_user gives it back */

    /* Callbacks: all [call]; arguments are the host's and live until the callback returns; anything but KEEL_OK is an error. */

    /* Makes an instance and returns it (null is a valid one); refuse with keel_fail. Parameters are readable, rows are not. */
    void *(*create)(keel_call *c);
    /* Frees what create returned, also when create has failed. Nothing of the host may be called. */
    void (*destroy)(void *self);
    /* Writes the instance's state by keel_write; called between steps. Without it the component is stateless. */
    keel_status (*save)(void *self, keel_call *c);
    /* Restores it into a fresh instance; `version` is the state_version that wrote it. Refuse what cannot be read. */
    keel_status (*load)(void *self, keel_call *c, uint32_t version, const void *bytes, size_t n);
    /* Objective: before the losses of an optimizer step (or rollout batch), without gradient, over all its rows. Reads
     * columns, puts new ones; a `weight` of 0 filters a row, any other multiplies its loss. */
    keel_status (*prepare)(void *self, keel_call *c);
    /* Data sampler: after a step, on the n rows it used; reads the columns it `needs`, in the same order. */
    keel_status (*feedback)(void *self, keel_call *c, const int64_t *rows, size_t n);
    /* Reward with a judge: puts one question per row in the text column "ask"; `score` then finds "reply". */
    keel_status (*ask)(void *self, keel_call *c, size_t n);
    /* Reward: writes n scores. `out` comes filled with NaN, which means: does not apply to this row; infinite is an error.
     * Unless COUPLED the host may split, reorder, run in parallel and cache by content; COUPLED sees whole groups (column "group"). */
    keel_status (*score)(void *self, keel_call *c, size_t n, float *out);
    /* Objective: the unreduced loss, [B] per row, [B,T] per token (the host applies the mask), or [] final. Rows of weight 0 or
     * without a trained token (a pair: on either side) add nothing, whatever is returned for them. */
    keel_t (*loss)(void *self, keel_call *c);
    /* Token sampler: may edit logits, [n,V] f32, -inf excludes; seq[b] = seq_bytes of memory, zero at first. Writes a token for
     * each row, or -1: the host draws from the edited logits with its own random numbers. */
    keel_status (*sample)(void *self, keel_call *c, const keel_array *logits, void *const *seq, int32_t *token);
    /* Data sampler: writes n row numbers, 0 ..< keel_rows; repeats are allowed. */
    keel_status (*order)(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n);
} keel_component;

/* What `keel_plugin_v1` returns: static, the same at every call. That function does nothing else: no threads, files, output. */
typedef struct keel_plugin {
    uint32_t size, api;
    const char *id, *version;  /* "org.example.length", "1.0.0" */
    const keel_component *const *components; /* ends with null */
    /* Null, or: the plugin's own table of an optional area, for one component or (null) the file; null when unknown. Static. [any] */
    const void *(*query)(const char *component, const char *id);
} keel_plugin;

/* 1 when a struct that begins with `size` is long enough to hold the field. */
#define KEEL_HAS(p, field) ((p)->size >= (size_t)((const char *)(&(p)->field + 1) - (const char *)(p)))

#define KEEL_COMPONENT_(KIND, ...) {.size = (uint32_t)sizeof(keel_component), .kind = KIND, __VA_ARGS__}
#define KEEL_REWARD(...) KEEL_COMPONENT_(KEEL_KIND_REWARD, __VA_ARGS__)
#define KEEL_OBJECTIVE(...) KEEL_COMPONENT_(KEEL_KIND_OBJECTIVE, __VA_ARGS__)
#define KEEL_TOKEN_SAMPLER(...) KEEL_COMPONENT_(KEEL_KIND_TOKEN_SAMPLER, __VA_ARGS__)
#define KEEL_DATA_SAMPLER(...) KEEL_COMPONENT_(KEEL_KIND_DATA_SAMPLER, __VA_ARGS__)
#define KEEL_NEEDS(...) .needs = KEEL_LIST_(keel_name, __VA_ARGS__, 0)
#define KEEL_GIVES(...) .gives = KEEL_LIST_(keel_name, __VA_ARGS__, 0)
#define KEEL_HEADS(...) .heads = KEEL_LIST_(keel_name, __VA_ARGS__, 0)
#define KEEL_TRAINS(...) .trains = KEEL_LIST_(keel_name, __VA_ARGS__, 0)
#define KEEL_PARAMS(...) .params = KEEL_LIST_(keel_param, __VA_ARGS__), \
    .param_count = KEEL_COUNT_(keel_param, __VA_ARGS__), .param_stride = (uint32_t)sizeof(keel_param)
#define KEEL_PHASES(...) .phases = KEEL_LIST_(keel_phase, __VA_ARGS__), \
    .phase_count = KEEL_COUNT_(keel_phase, __VA_ARGS__), .phase_stride = (uint32_t)sizeof(keel_phase)
#define KEEL_PARAM_F64(NAME, DEFAULT, MIN, MAX, HELP) {.name = NAME, .type = KEEL_TYPE_F64, .value = DEFAULT, .min = MIN, .max = MAX, .help = HELP}
#define KEEL_PARAM_I64(NAME, DEFAULT, MIN, MAX, HELP) {.name = NAME, .type = KEEL_TYPE_I64, .value = DEFAULT, .min = MIN, .max = MAX, .help = HELP}
#define KEEL_PARAM_BOOL(NAME, DEFAULT, HELP) {.name = NAME, .type = KEEL_TYPE_BOOL, .value = DEFAULT, .help = HELP}
#define KEEL_PARAM_STR(NAME, DEFAULT, HELP) {.name = NAME, .type = KEEL_TYPE_STR, .text = DEFAULT, .help = HELP}
#define KEEL_PARAM_JSON(NAME, DEFAULT, HELP) {.name = NAME, .type = KEEL_TYPE_JSON, .text = DEFAULT, .help = HELP}
#define KEEL_PARAM_LIST(NAME, DEFAULT, MIN, MAX, HELP) {.name = NAME, .type = KEEL_TYPE_F64_LIST, .min = MIN, .max = MAX, .text = DEFAULT, .help = HELP}
#define KEEL_PARAM_ENUM(NAME, DEFAULT, HELP, ...) \
    {.name = NAME, .type = KEEL_TYPE_ENUM, .text = DEFAULT, .choices = KEEL_LIST_(keel_name, __VA_ARGS__, 0), .help = HELP}

/* The exported function. After the id and the version: addresses of the components. */
#define KEEL_PLUGIN(ID, VERSION, ...) KEEL_PLUGIN_QUERY(ID, VERSION, 0, __VA_ARGS__)
#define KEEL_PLUGIN_QUERY(ID, VERSION, QUERY, ...) \
    KEEL_EXPORT const keel_plugin *keel_plugin_v1(void); \
    KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) { \
        static const keel_component *const list[] = {__VA_ARGS__, 0}; \
        static const keel_plugin plugin = {.size = (uint32_t)sizeof(keel_plugin), .api = KEEL_API, .id = ID, .version = VERSION, .components = list, .query = QUERY}; \
        return &plugin; \
    }

/* ---------------------------------------------------------------- wrappers of the host functions */
#define KEEL_FN_ static inline __attribute__((unused))
KEEL_FN_ const void *keel_query(keel_call *c, const char *id) { return c->host->query(c, id); }
KEEL_FN_ keel_status keel_fail(keel_call *c, keel_status code, const char *text) { return c->host->fail(c, code, text); }
KEEL_FN_ const void *keel_user(keel_call *c) { return c->host->user(c); }
KEEL_FN_ int keel_cancelled(keel_call *c) { return c->host->cancelled(c); }
KEEL_FN_ void keel_note(keel_call *c, int level, const char *text) { c->host->log(c, level, text); }
KEEL_FN_ void keel_metric(keel_call *c, const char *name, double v) { c->host->metric(c, name, v, KEEL_MEAN); }
KEEL_FN_ void keel_metric_as(keel_call *c, const char *name, double v, int how) { c->host->metric(c, name, v, how); }
KEEL_FN_ void keel_metric_t(keel_call *c, const char *name, keel_t t) { c->host->metric_t(c, name, t, KEEL_MEAN); }
KEEL_FN_ void keel_metric_t_as(keel_call *c, const char *name, keel_t t, int how) { c->host->metric_t(c, name, t, how); }
KEEL_FN_ double keel_num(keel_call *c, const char *param) { return c->host->num(c, param); }
KEEL_FN_ keel_str keel_string(keel_call *c, const char *param) { return c->host->str(c, param); }
KEEL_FN_ keel_str keel_json(keel_call *c, const char *param) { return c->host->json(c, param); }
KEEL_FN_ const double *keel_list(keel_call *c, const char *param, size_t *n) { return c->host->list(c, param, n); }
KEEL_FN_ double keel_fact(keel_call *c, const char *name) { return c->host->fact(c, name); }
KEEL_FN_ const char *keel_phase_name(keel_call *c) { return c->host->phase(c); }
KEEL_FN_ uint64_t keel_random(keel_call *c, size_t row, uint64_t n) { return c->host->random(c, row, n); }
/* A double in [0, 1) with 53 random bits. */
KEEL_FN_ double keel_uniform(keel_call *c, size_t row, uint64_t n) { return (double)(keel_random(c, row, n) >> 11) * 0x1p-53; }
KEEL_FN_ size_t keel_rows(keel_call *c) { return c->host->rows(c); }
KEEL_FN_ keel_str keel_text(keel_call *c, const char *column, size_t row) { return c->host->text(c, column, row); }
KEEL_FN_ keel_str keel_field(keel_call *c, size_t row, const char *pointer) { return c->host->field(c, row, pointer); }
KEEL_FN_ const int32_t *keel_tokens(keel_call *c, size_t row, size_t *prompt, size_t *total) { return c->host->tokens(c, row, prompt, total); }
KEEL_FN_ keel_status keel_need(keel_call *c, const char *column) { return c->host->need(c, column); }
KEEL_FN_ keel_status keel_reduction(keel_call *c, const char *name, double constant) { return c->host->reduction(c, name, constant); }
KEEL_FN_ int keel_has(keel_call *c, const char *column) { return c->host->has(c, column); }
KEEL_FN_ keel_status keel_column(keel_call *c, const char *name, keel_array *out) { return c->host->column(c, name, out); }
KEEL_FN_ keel_status keel_put(keel_call *c, const char *name, const keel_array *array) { return c->host->put(c, name, array); }
KEEL_FN_ keel_status keel_put_text(keel_call *c, const char *column, size_t row, const char *p, size_t n) { return c->host->put_text(c, column, row, p, n); }
KEEL_FN_ keel_status keel_write(keel_call *c, const void *bytes, size_t n) { return c->host->write(c, bytes, n); }
KEEL_FN_ keel_t keel_in(keel_call *c, const char *column) { return c->host->input(c, column); }
KEEL_FN_ keel_t keel_upload(keel_call *c, const keel_array *array) { return c->host->upload(c, array); }
KEEL_FN_ int keel_op_supported(keel_call *c, int code) { return c->host->op_supported(c, code); }
KEEL_FN_ int keel_shape(keel_call *c, keel_t t, int64_t *lengths, size_t cap) { return c->host->shape(c, t, lengths, cap); }
KEEL_FN_ keel_status keel_read(keel_call *c, keel_t t, keel_array *out) { return c->host->read(c, t, out); }
KEEL_FN_ keel_status keel_grad(keel_call *c, const char *column, const keel_array *array) { return c->host->grad(c, column, array); }

/* 1 when the bytes are those of the text. */
KEEL_FN_ int keel_is(keel_str s, const char *text) { return s.p && s.n == strlen(text) && memcmp(s.p, text, s.n) == 0; }
/* The cells of an array, and how many they are. */
KEEL_FN_ float *keel_f32(const keel_array *a) { return (float *)a->data; }
KEEL_FN_ double *keel_f64(const keel_array *a) { return (double *)a->data; }
KEEL_FN_ int32_t *keel_i32(const keel_array *a) { return (int32_t *)a->data; }
KEEL_FN_ size_t keel_cells(const keel_array *a) { size_t n = 1; for (int i = 0; i < a->ndim; i++) n *= (size_t)a->shape[i]; return n; }
/* A view of your own numbers, row-major; `shape` must outlive it. */
#define KEEL_VIEW_(NAME, T, CODE, BITS) KEEL_FN_ keel_array NAME(const T *data, const int64_t *shape, int ndim) { \
    keel_array a = {(void *)(uintptr_t)data, 1, 0, ndim, CODE, BITS, 1, shape, 0, 0}; return a; }
KEEL_VIEW_(keel_array_f64, double, KEEL_FLOAT, 64) KEEL_VIEW_(keel_array_f32, float, KEEL_FLOAT, 32) KEEL_VIEW_(keel_array_i32, int32_t, KEEL_INT, 32)

/* ---------------------------------------------------------------- tensor formulas, one inline per operation */
KEEL_FN_ keel_t keel_op(keel_call *c, int code, const keel_t *in, size_t n, const double *k, size_t nk) { return c->host->op(c, code, in, n, k, nk); }
KEEL_FN_ keel_t keel_op1(keel_call *c, int code, keel_t x) { return keel_op(c, code, &x, 1, 0, 0); }
KEEL_FN_ keel_t keel_op2(keel_call *c, int code, keel_t a, keel_t b) { const keel_t in[2] = {a, b}; return keel_op(c, code, in, 2, 0, 0); }
KEEL_FN_ keel_t keel_opk(keel_call *c, int code, keel_t x, double k) { return keel_op(c, code, &x, 1, &k, 1); }

#define KEEL_UNARY_(NAME, CODE) KEEL_FN_ keel_t keel_##NAME(keel_call *c, keel_t x) { return keel_op1(c, CODE, x); }
#define KEEL_BINARY_(NAME, CODE) KEEL_FN_ keel_t keel_##NAME(keel_call *c, keel_t a, keel_t b) { return keel_op2(c, CODE, a, b); }
#define KEEL_CONST_(NAME, CODE) KEEL_FN_ keel_t keel_##NAME(keel_call *c, keel_t x, double k) { return keel_opk(c, CODE, x, k); }
KEEL_BINARY_(add, KEEL_OP_ADD) KEEL_BINARY_(sub, KEEL_OP_SUB) KEEL_BINARY_(mul, KEEL_OP_MUL) KEEL_BINARY_(div, KEEL_OP_DIV)
KEEL_BINARY_(min, KEEL_OP_MIN) KEEL_BINARY_(max, KEEL_OP_MAX) KEEL_BINARY_(pow, KEEL_OP_POW) KEEL_BINARY_(gather, KEEL_OP_GATHER)
/* keel_neg(c, x) ...; reductions over all cells; softmax, log_softmax, cumsum and sort over the last axis */
KEEL_UNARY_(neg, KEEL_OP_NEG) KEEL_UNARY_(exp, KEEL_OP_EXP) KEEL_UNARY_(log, KEEL_OP_LOG) KEEL_UNARY_(log1p, KEEL_OP_LOG1P)
KEEL_UNARY_(expm1, KEEL_OP_EXPM1) KEEL_UNARY_(sqrt, KEEL_OP_SQRT) KEEL_UNARY_(square, KEEL_OP_SQUARE) KEEL_UNARY_(abs, KEEL_OP_ABS)
KEEL_UNARY_(sigmoid, KEEL_OP_SIGMOID) KEEL_UNARY_(log_sigmoid, KEEL_OP_LOG_SIGMOID) KEEL_UNARY_(softplus, KEEL_OP_SOFTPLUS)
KEEL_UNARY_(tanh, KEEL_OP_TANH) KEEL_UNARY_(relu, KEEL_OP_RELU) KEEL_UNARY_(reciprocal, KEEL_OP_RECIPROCAL)
KEEL_UNARY_(log1mexp, KEEL_OP_LOG1MEXP) KEEL_UNARY_(softmax, KEEL_OP_SOFTMAX) KEEL_UNARY_(log_softmax, KEEL_OP_LOG_SOFTMAX)
KEEL_UNARY_(cumsum, KEEL_OP_CUMSUM) KEEL_UNARY_(sort, KEEL_OP_SORT) KEEL_UNARY_(transpose, KEEL_OP_TRANSPOSE)
KEEL_UNARY_(detach, KEEL_OP_DETACH) KEEL_UNARY_(sum, KEEL_OP_SUM) KEEL_UNARY_(mean, KEEL_OP_MEAN)
KEEL_UNARY_(amax, KEEL_OP_AMAX) KEEL_UNARY_(amin, KEEL_OP_AMIN) KEEL_UNARY_(logsumexp, KEEL_OP_LOGSUMEXP)
/* keel_scale(c, x, k) ...; keel_sum_axis(c, x, axis) removes the axis */
KEEL_CONST_(scale, KEEL_OP_SCALE) KEEL_CONST_(offset, KEEL_OP_OFFSET) KEEL_CONST_(gt, KEEL_OP_GT) KEEL_CONST_(ge, KEEL_OP_GE)
KEEL_CONST_(lt, KEEL_OP_LT) KEEL_CONST_(le, KEEL_OP_LE) KEEL_CONST_(eq, KEEL_OP_EQ)
KEEL_CONST_(sum_axis, KEEL_OP_SUM) KEEL_CONST_(mean_axis, KEEL_OP_MEAN) KEEL_CONST_(amax_axis, KEEL_OP_AMAX)
KEEL_CONST_(amin_axis, KEEL_OP_AMIN) KEEL_CONST_(logsumexp_axis, KEEL_OP_LOGSUMEXP)

KEEL_FN_ keel_t keel_where(keel_call *c, keel_t cond, keel_t a, keel_t b) { const keel_t in[3] = {cond, a, b}; return keel_op(c, KEEL_OP_WHERE, in, 3, 0, 0); }
KEEL_FN_ keel_t keel_clamp(keel_call *c, keel_t x, double lo, double hi) { const double k[2] = {lo, hi}; return keel_op(c, KEEL_OP_CLAMP, &x, 1, k, 2); }
KEEL_FN_ keel_t keel_slice(keel_call *c, keel_t x, int axis, int64_t start, int64_t stop) { const double k[3] = {(double)axis, (double)start, (double)stop}; return keel_op(c, KEEL_OP_SLICE, &x, 1, k, 3); }
KEEL_FN_ keel_t keel_full(keel_call *c, double value) { return keel_op(c, KEEL_OP_FULL, 0, 0, &value, 1); }
/* Over the last axis, cells with mask 0 left out: [B,T] -> [B]; the mean of no cells is 0. */
KEEL_FN_ keel_t keel_masked_sum(keel_call *c, keel_t x, keel_t mask) { const keel_t in[2] = {x, mask}; const double k = -1; return keel_op(c, KEEL_OP_SUM, in, 2, &k, 1); }
KEEL_FN_ keel_t keel_masked_mean(keel_call *c, keel_t x, keel_t mask) { const keel_t in[2] = {x, mask}; const double k = -1; return keel_op(c, KEEL_OP_MEAN, in, 2, &k, 1); }

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
