/* A help text that is not UTF-8. */
#include "../zoo.h"
ZOO_SCORE(bad_text, out[i] += 1;)
ZOO_REWARD(bad_text,
           "Pr\xFC"
           "ft die L\xE4nge.",
           .score = bad_text_score);
KEEL_PLUGIN("org.example.zoo.bad_text", "1.0.0", &bad_text_component)
