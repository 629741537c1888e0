/* Components that go wrong once, at a moment that parameters name, while a file "armed" is in the current folder. */
#include "keel.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FAULTS                                                                                     \
    KEEL_PARAM_ENUM("how", "none", "What happens.", "none", "fail", "segfault", "abort", "hang"),  \
        KEEL_PARAM_STR("callback", "", "Where."), KEEL_PARAM_I64("step", 0, 0, 1e6, "When.")

static volatile int *volatile nowhere;

/* Goes wrong in the wanted callback at the wanted step; the next run is spared. */
static keel_status fault(keel_call *c, const char *callback) {
    int how = (int)keel_num(c, "how");
    if (!how || !keel_is(keel_string(c, "callback"), callback) ||
        keel_fact(c, "step") != keel_num(c, "step") || unlink("armed"))
        return KEEL_OK;
    if (how == 2)
        *nowhere = 1;
    if (how == 3)
        abort();
    while (how == 4)
        usleep(10000);
    return keel_fail(c, KEEL_E_INTERNAL, "went wrong as told");
}

/* ---- state: a number that counts calls and that every result depends on */

static void *create(keel_call *c) {
    (void)c;
    return calloc(1, sizeof(int64_t));
}
static keel_status save(void *self, keel_call *c) {
    keel_status status = fault(c, "save");
    return status ? status : keel_write(c, self, sizeof(int64_t));
}
static keel_status load(void *self, keel_call *c, uint32_t version, const void *bytes, size_t n) {
    (void)version;
    if (n != sizeof(int64_t))
        return keel_fail(c, KEEL_E_STATE, "a state of another size");
    memcpy(self, bytes, n);
    return KEEL_OK;
}
#define STATE .create = create, .destroy = free, .save = save, .load = load

/* ---- an objective on pairs, whose weights depend on how often it was prepared */

static keel_status prepare(void *self, keel_call *c) {
    int64_t count = ++*(int64_t *)self, shape[1] = {(int64_t)keel_rows(c)};
    double weight[64];
    for (int64_t i = 0; i < shape[0] && i < 64; i++)
        weight[i] = 1 + (double)((count + i) % 3);
    keel_array array = keel_array_f64(weight, shape, 1);
    keel_status status = fault(c, "prepare");
    return status ? status : keel_put(c, "weight", &array);
}
static keel_t loss(void *self, keel_call *c) {
    (void)self;
    keel_t won = keel_in(c, "chosen.seq_logprobs"), lost = keel_in(c, "rejected.seq_logprobs");
    fault(c, "loss");
    return keel_neg(c, keel_log_sigmoid(c, keel_sub(c, won, lost)));
}
static const keel_component objective = KEEL_OBJECTIVE(.name = "faulty_objective",
                                                       .help = "Weighs pairs by its state.",
                                                       .data = "pairs",
                                                       KEEL_NEEDS("chosen.seq_logprobs",
                                                                  "rejected.seq_logprobs"),
                                                       KEEL_GIVES("weight"), KEEL_PARAMS(FAULTS),
                                                       STATE, .prepare = prepare, .loss = loss);

/* ---- a reward whose scores depend on how many rows it has seen */

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        int64_t count = ++*(int64_t *)self;
        out[i] = (float)keel_text(c, "response", i).n / 100 + (float)(count % 7);
    }
    return fault(c, "score");
}
static const keel_component reward = KEEL_REWARD(.name = "faulty_reward",
                                                 .help = "Adds its state to a length.",
                                                 KEEL_PARAMS(FAULTS), STATE, .score = score);

/* ---- a token sampler that leaves the choice to the host */

static keel_status sample(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                          int32_t *token) {
    (void)self, (void)seq;
    for (int64_t i = 0; i < logits->shape[0]; i++)
        token[i] = -1;
    return fault(c, "sample");
}
static const keel_component sampler = KEEL_TOKEN_SAMPLER(.name = "faulty_sampler", .help = "Draws.",
                                                         KEEL_PARAMS(FAULTS), .sample = sample);

KEEL_PLUGIN("org.example.faults", "1.0.0", &objective, &reward, &sampler)
