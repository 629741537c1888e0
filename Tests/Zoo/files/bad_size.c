/* A descriptor that says it is two bytes long. */
#include "../zoo.h"
ZOO_SCORE(bad_size, out[i] += 1;)
static const keel_component bad_size_component = {.size = 2,
                                                  .kind = KEEL_KIND_REWARD,
                                                  .name = "bad_size",
                                                  .help = "Scores by length.",
                                                  .score = bad_size_score};
KEEL_PLUGIN("org.example.zoo.bad_size", "1.0.0", &bad_size_component)
