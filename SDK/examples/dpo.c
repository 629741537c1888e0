#include "keel.h"

/* z = beta ((chosen - ref chosen) - (rejected - ref rejected));   L = -log sigmoid(z), with label smoothing */
static keel_t loss(void *self, keel_call *c) {
    double beta = keel_num(c, "beta"), eps = keel_num(c, "label_smoothing");
    keel_t won = keel_sub(
        c, keel_in(c, "chosen.seq_logprobs"), keel_in(c, "chosen.ref_seq_logprobs"));
    keel_t lost = keel_sub(
        c, keel_in(c, "rejected.seq_logprobs"), keel_in(c, "rejected.ref_seq_logprobs"));
    keel_t z = keel_scale(c, keel_sub(c, won, lost), beta);
    keel_t good = keel_log_sigmoid(c, z), bad = keel_log_sigmoid(c, keel_neg(c, z));
    keel_metric_t(c, "rewards/margins", z);
    keel_metric_t(c, "rewards/accuracies", keel_gt(c, z, 0));
    return keel_add(c, keel_scale(c, good, eps - 1), keel_scale(c, bad, -eps)); /* one per pair */
}
static const keel_component dpo = KEEL_OBJECTIVE(.name = "dpo",
    .help = "Direct preference optimisation.", .data = "pairs",
    KEEL_NEEDS("chosen.seq_logprobs", "rejected.seq_logprobs", "chosen.ref_seq_logprobs",
        "rejected.ref_seq_logprobs"),
    KEEL_PARAMS(KEEL_PARAM_F64("beta", 0.1, 1e-6, 100, "Strength of the pull to the reference."),
        KEEL_PARAM_F64("label_smoothing", 0, 0, 0.5, "Share of wrong labels.")),
    .loss = loss);
KEEL_PLUGIN("org.example.dpo", "1.0.0", &dpo)
