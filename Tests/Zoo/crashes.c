/* Rewards that end or block their process on an ordinary row. */
#include "zoo.h"
#include <stdlib.h>
#include <unistd.h>

/* Writes through a null pointer. */
static volatile int *volatile nowhere;
ZOO_SCORE(segfault, *nowhere = 1;)
ZOO_REWARD(segfault, "Writes to address 0.", .score = segfault_score);

ZOO_SCORE(hang, for (;;) usleep(100000);)
ZOO_REWARD(hang, "Never answers.", .score = hang_score);

ZOO_SCORE(abort, abort();)
ZOO_REWARD(abort, "Aborts the process.", .score = abort_score);

/* Ends the process as if all were well. */
ZOO_SCORE(exit, exit(3);)
ZOO_REWARD(exit, "Leaves the process with status 3.", .score = exit_score);

/* Takes memory without end; gives up after 3 GiB, to spare machines that set no limit. */
static void *volatile held;
ZOO_SCORE(
    allocate, for (int part = 0; part < 192; part++) {
        void *block = malloc(16u << 20);
        if (!block)
            abort();
        memset(block, 1, 16u << 20);
        held = block;
    })
ZOO_REWARD(allocate, "Allocates without end.", .score = allocate_score);

KEEL_PLUGIN("org.example.zoo.crashes", "1.0.0", &segfault_component, &hang_component,
            &abort_component, &exit_component, &allocate_component)
