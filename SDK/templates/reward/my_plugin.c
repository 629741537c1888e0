/* my_plugin: 1 for a response that contains the row's "answer", limit / length for one longer than `limit` bytes, 0 for one
 * without the answer. A row that has no "answer" is not scored. */
#include "keel.h"

static int contains(keel_str text, keel_str part) {
    for (size_t i = 0; i + part.n <= text.n; i++)
        if (memcmp(text.p + i, part.p, part.n) == 0)
            return 1;
    return 0;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    double limit = keel_num(c, "limit");
    for (size_t i = 0; i < n; i++) {
        keel_str response = keel_text(c, "response", i), answer = keel_field(c, i, "/answer");
        double length = (double)response.n;
        if (answer.p == NULL)
            continue; /* out[i] stays NaN: the reward does not apply to this row */
        out[i] = !contains(response, answer) ? 0 : length > limit ? (float)(limit / length) : 1;
    }
    return KEEL_OK;
}

static const keel_component component = KEEL_REWARD(.name = "my_plugin",
    .help = "Responses that contain the answer and are not too long.",
    KEEL_PARAMS(KEEL_PARAM_I64("limit", 200, 1, 1e6, "Bytes that a response may have.")),
    .score = score);

KEEL_PLUGIN("org.example.my_plugin", "0.1.0", &component)
