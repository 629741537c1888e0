/* my_plugin: begins with the first `start` of the rows and takes `growth` more of them with each epoch, so that a file
 * sorted by difficulty becomes a curriculum. What is open already is repeated until the epoch is full. */
#include "keel.h"

static keel_status order(void *self, keel_call *c, int64_t epoch, int64_t *out, size_t n) {
    double rows = (double)keel_rows(c);
    double share = keel_num(c, "start") + keel_num(c, "growth") * (double)epoch;
    size_t open = (size_t)(rows * (share < 1 ? share : 1));
    if (open == 0)
        open = 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)(i % open);
    return KEEL_OK;
}

static const keel_component component = KEEL_DATA_SAMPLER(.name = "my_plugin",
    .help = "Opens the file row by row, more of it with each epoch.",
    KEEL_PARAMS(KEEL_PARAM_F64("start", 0.5, 0, 1, "Share of the rows of the first epoch."),
        KEEL_PARAM_F64("growth", 0.25, 0, 1, "Share that each epoch adds.")),
    .order = order);

KEEL_PLUGIN("org.example.my_plugin", "0.1.0", &component)
