/* my_plugin: direct preference optimisation as a start (arXiv:2305.18290, equation 7).
 *
 *     L = -log sigmoid(beta (d_chosen - d_rejected)),   d = log pi(y|x) - log pi_ref(y|x)
 *
 * Gives one loss per pair; the host divides by the number of pairs of the whole optimizer step. */
#include "keel.h"

static keel_t loss(void *self, keel_call *c) {
    double beta = keel_num(c, "beta");
    keel_t chosen = keel_sub(
        c, keel_in(c, "chosen.seq_logprobs"), keel_in(c, "chosen.ref_seq_logprobs"));
    keel_t rejected = keel_sub(
        c, keel_in(c, "rejected.seq_logprobs"), keel_in(c, "rejected.ref_seq_logprobs"));
    keel_t margin = keel_scale(c, keel_sub(c, chosen, rejected), beta); /* [B] */
    keel_metric_t(c, "rewards/margins", margin);
    keel_metric_t(c, "rewards/accuracies", keel_gt(c, margin, 0));
    return keel_neg(c, keel_log_sigmoid(c, margin));
}

static const keel_component component = KEEL_OBJECTIVE(.name = "my_plugin",
    .help = "Prefers the chosen answer of each pair.", .data = "pairs",
    KEEL_NEEDS("chosen.seq_logprobs", "chosen.ref_seq_logprobs", "rejected.seq_logprobs",
        "rejected.ref_seq_logprobs"),
    KEEL_PARAMS(KEEL_PARAM_F64("beta", 0.1, 0, 100, "Strength of the pull to the reference.")),
    .loss = loss);

KEEL_PLUGIN("org.example.my_plugin", "0.1.0", &component)
