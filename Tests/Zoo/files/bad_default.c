/* A default outside of its own range. */
#include "../zoo.h"
ZOO_SCORE(bad_default, out[i] += 1;)
static const keel_component bad_default_component = KEEL_REWARD(
        .name = "bad_default", .help = "Scores by length.",
        KEEL_PARAMS(ZOO_TRIGGER, KEEL_PARAM_F64("level", 5, 0, 1, "A share.")),
        .score = bad_default_score);
KEEL_PLUGIN("org.example.zoo.bad_default", "1.0.0", &bad_default_component)
