/* A good reward, for files that are bad in another way. */
#ifndef ZOO_FILE_H
#define ZOO_FILE_H
#include "../zoo.h"
ZOO_SCORE(plain, out[i] += 1;)
ZOO_REWARD(plain, "Scores by length.", .score = plain_score);
#endif
