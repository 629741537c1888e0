// A reward in C++ that lets an exception out.
#include "zoo.h"
#include <stdexcept>

ZOO_SCORE(throws, throw std::runtime_error("no score for this row");)
ZOO_REWARD(throws, "Lets an exception leave the callback.", .score = throws_score);

KEEL_PLUGIN("org.example.zoo.throws", "1.0.0", &throws_component)
