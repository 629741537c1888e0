/* A reward and a token sampler that meet: the sampler finishes every second text at once and goes on with the others only
 * when the reward has scored one. A host that scores after generating never gets there. */
#include "keel.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MARK                                                                                       \
    KEEL_PARAM_STR("mark", "", "A file that says that a score was given."),                        \
        KEEL_PARAM_I64("patience", 2000, 1, 1e6, "How long to wait for it, times 10 ms.")

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)keel_text(c, "response", i).n / 100;
    int file = open(keel_string(c, "mark").p, O_CREAT | O_WRONLY, 0666);
    if (file < 0)
        return keel_fail(c, KEEL_E_INTERNAL, "cannot make the mark");
    close(file);
    return KEEL_OK;
}
static const keel_component reward = KEEL_REWARD(.name = "marks", .help = "Marks that it scored.",
                                                 KEEL_PARAMS(MARK), .score = score);

/* Every second sequence ends with its first token. */
struct own {
    int32_t number, tokens;
};
static int32_t made;

static keel_status sample(void *self, keel_call *c, const keel_array *logits, void *const *seq,
                          int32_t *token) {
    (void)self;
    for (int64_t i = 0; i < logits->shape[0]; i++) {
        struct own *own = seq[i];
        if (!own->number)
            own->number = ++made;
        token[i] = own->number % 2 ? (int32_t)keel_fact(c, "eos_token_id") : 100;
        if (++own->tokens < 4)
            continue;
        /* In tens of milliseconds, then it gives up. */
        for (int waited = 0; access(keel_string(c, "mark").p, F_OK) != 0; waited++) {
            if (waited == (int)keel_num(c, "patience"))
                return keel_fail(c, KEEL_E_INTERNAL, "nothing was scored while texts were made");
            usleep(10000);
        }
    }
    return KEEL_OK;
}
static const keel_component sampler = KEEL_TOKEN_SAMPLER(.name = "waits",
                                                         .help = "Waits for a score.",
                                                         KEEL_PARAMS(MARK),
                                                         .seq_bytes = sizeof(struct own),
                                                         .sample = sample);

KEEL_PLUGIN("org.example.overlap", "1.0.0", &reward, &sampler)
