/* Components that say something about themselves that cannot be. */
#include "zoo.h"

ZOO_SCORE(no_help, out[i] += 1;)
ZOO_REWARD(no_help, 0, .score = no_help_score);

ZOO_SCORE(unknown_column, out[i] += 1;)
ZOO_REWARD(unknown_column, "Needs a column that is misspelt.", KEEL_NEEDS("respnse"),
           .score = unknown_column_score);

ZOO_SCORE(odd_flags, out[i] += 1;)
ZOO_REWARD(odd_flags, "A reward with the flag of an objective.", .flags = KEEL_EXPLICIT_GRAD,
           .score = odd_flags_score);

KEEL_PLUGIN("org.example.zoo.descriptors", "1.0.0", &no_help_component, &unknown_column_component,
            &odd_flags_component)
