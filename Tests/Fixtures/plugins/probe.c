#include "keel.h"
#include <stdio.h>

/* A reward that looks at everything a reward can see, and makes one number of it: two hosts that show it the
 * same give the same number. */

typedef uint64_t hash;

static void mix(hash *h, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        *h = (*h ^ ((const unsigned char *)bytes)[i]) * 0x100000001B3u;
}
static void mix_text(hash *h, keel_str s) {
    mix(h, s.p ? "+" : "-", 1);
    mix(h, s.p, s.n);
    if (s.p)
        mix(h, s.p + s.n, 1); /* the NUL behind it */
}
static void mix_number(hash *h, double v) { mix(h, &v, sizeof v); }
static void mix_column(hash *h, keel_call *c, const char *name) {
    keel_array a;
    if (!keel_has(c, name) || keel_column(c, name, &a)) {
        mix(h, "?", 1);
        return;
    }
    mix_number(h, a.code * 100 + a.bits);
    for (int i = 0; i < a.ndim; i++) {
        mix_number(h, (double)a.shape[i]);
        mix_number(h, (double)a.strides[i]);
    }
    mix(h, a.data, keel_cells(&a) * a.bits / 8);
}

/* What does not depend on the rows. */
static hash constants(keel_call *c) {
    static const char *const facts[] = {"step", "epoch", "seed", "vocab_size", "nothing"};
    hash h = 7;
    size_t n = 0;
    mix_number(&h, keel_num(c, "number"));
    mix_number(&h, keel_num(c, "whole"));
    mix_number(&h, keel_num(c, "flag"));
    mix_number(&h, keel_num(c, "choice"));
    mix_text(&h, keel_string(c, "choice"));
    mix_text(&h, keel_string(c, "text"));
    mix_text(&h, keel_json(c, "json"));
    mix_text(&h, keel_json(c, "number"));
    const double *list = keel_list(c, "list", &n);
    mix(&h, list, n * sizeof *list);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        mix_number(&h, keel_fact(c, facts[i]));
    mix(&h, keel_phase_name(c), strlen(keel_phase_name(c)));
    mix_number(&h, keel_op_supported(c, KEEL_OP_ADD) + 2 * keel_op_supported(c, 999));
    mix_number(&h, keel_query(c, "keel.logits/1") != 0);
    mix(&h, keel_user(c), 4);
    return h;
}

static keel_status misuse(keel_call *c, keel_str what) {
    keel_array a;
    int64_t shape[2] = {1, 2};
    double two[2] = {1, 2};
    if (keel_is(what, "parameter"))
        keel_num(c, "numbr");
    if (keel_is(what, "type"))
        keel_num(c, "text");
    if (keel_is(what, "string"))
        keel_string(c, "number");
    if (keel_is(what, "list"))
        keel_list(c, "number", 0);
    if (keel_is(what, "undeclared"))
        keel_column(c, "token_reward", &a);
    if (keel_is(what, "unknown"))
        keel_column(c, "values", &a);
    if (keel_is(what, "absent"))
        keel_column(c, "extra", &a);
    if (keel_is(what, "row"))
        keel_text(c, "response", 99);
    if (keel_is(what, "field"))
        keel_field(c, 99, "/a");
    if (keel_is(what, "tokens"))
        keel_tokens(c, 99, 0, 0);
    if (keel_is(what, "pointer"))
        keel_field(c, 0, "answer");
    if (keel_is(what, "gives")) {
        a = keel_array_f64(two, shape, 2);
        keel_put(c, "token_rewardz", &a);
    }
    if (keel_is(what, "shape")) {
        shape[0] = 2, shape[1] = 1;
        a = keel_array_f64(two, shape, 2);
        keel_put(c, "token_rewards", &a);
    }
    if (keel_is(what, "null"))
        keel_put(c, "token_rewards", 0);
    if (keel_is(what, "device")) {
        a = keel_array_f64(two, shape, 2);
        a.device_type = 2;
        keel_put(c, "token_rewards", &a);
    }
    if (keel_is(what, "bits")) {
        a = keel_array_f64(two, shape, 2);
        a.bits = 16;
        keel_put(c, "token_rewards", &a);
    }
    if (keel_is(what, "write"))
        keel_write(c, "x", 1);
    if (keel_is(what, "ask"))
        keel_put_text(c, "ask", 0, "x", 1);
    if (keel_is(what, "need"))
        keel_need(c, "values");
    if (keel_is(what, "reduction"))
        keel_reduction(c, "row_mean", 0);
    if (keel_is(what, "input"))
        keel_in(c, "logprobs");
    if (keel_is(what, "op"))
        keel_op(c, KEEL_OP_FULL, 0, 0, two, 1);
    if (keel_is(what, "metric_t"))
        keel_metric_t(c, "m", (keel_t){1});
    if (keel_is(what, "shape_of"))
        keel_shape(c, (keel_t){1}, 0, 0);
    if (keel_is(what, "fail")) {
        keel_fail(c, KEEL_E_MISSING, "nothing here");
        keel_fail(c, KEEL_E_INVALID, "a second failure");
    }
    if (keel_is(what, "wordless"))
        keel_fail(c, KEEL_E_INVALID, "");
    if (keel_is(what, "silent"))
        return KEEL_E_UNSUPPORTED;
    if (keel_is(what, "strange"))
        return 77;
    return KEEL_OK;
}

static keel_status score(void *self, keel_call *c, size_t n, float *out) {
    (void)self;
    static double per_token[4096];
    keel_str wrong = keel_string(c, "misuse");
    if (wrong.n)
        return misuse(c, wrong);
    hash base = constants(c);
    int64_t width = 0;
    keel_array tokens;
    if (keel_has(c, "tokens") && keel_column(c, "tokens", &tokens) == KEEL_OK)
        width = tokens.shape[1];
    for (size_t i = 0; i < n; i++) {
        hash h = base;
        size_t prompt = 0, total = 0;
        mix_text(&h, keel_text(c, "prompt", i));
        mix_text(&h, keel_text(c, "response", i));
        mix_text(&h, keel_text(c, "row", i));
        mix_text(&h, keel_text(c, "reply", i));
        mix_text(&h, keel_text(c, "no_such", i));
        const int32_t *ids = keel_tokens(c, i, &prompt, &total);
        mix_number(&h, (double)prompt);
        mix(&h, ids, total * sizeof *ids);
        for (uint64_t k = 0; k < 4; k++) {
            uint64_t bits = keel_random(c, i, k * 12345);
            mix(&h, &bits, sizeof bits);
        }
        /* The pointers to be followed, one a line. */
        keel_str all = keel_string(c, "pointers");
        for (size_t at = 0; at < all.n;) {
            char pointer[256];
            size_t length = 0;
            while (at < all.n && all.p[at] != '\n' && length < sizeof pointer - 1)
                pointer[length++] = all.p[at++];
            pointer[length] = 0;
            at++;
            mix_text(&h, keel_field(c, i, pointer));
        }
        if (keel_num(c, "columns") != 0) {
            static const char *const names[] = {"group",  "length", "finished", "model_scores",
                                                "tokens", "mask",   "extra"};
            for (size_t k = 0; k < sizeof names / sizeof *names; k++)
                mix_column(&h, c, names[k]);
        }
        out[i] = (float)(h >> 40);
        if (h % 5 == 4)
            out[i] = (float)(0.0 / 0.0);
        keel_metric(c, "scored", (double)(h >> 44) * 0.1);
        keel_metric_as(c, "largest", (double)(h >> 44), KEEL_MAX);
    }
    if (keel_num(c, "give") != 0) {
        /* [n, width], as f32 that begins in the middle and runs backwards. */
        static float cells[8192];
        int64_t shape[2] = {(int64_t)n, width}, strides[2] = {width, 1};
        for (size_t i = 0; i < n * (size_t)width; i++) {
            cells[i] = (float)tokens.shape[1] + (float)keel_i32(&tokens)[i] * 0.5f;
            per_token[i] = cells[i];
        }
        keel_array a = keel_array_f64(per_token, shape, 2);
        a.data = cells, a.bits = 32, a.strides = strides;
        keel_put(c, "token_rewards", &a);
    }
    return KEEL_OK;
}
static const keel_component probe = KEEL_REWARD(
        .name = "probe", .help = "looks at everything", KEEL_NEEDS("model_scores?", "extra?"),
        KEEL_GIVES("token_rewards"),
        KEEL_PARAMS(KEEL_PARAM_F64("number", 0.1, 0, 0, ""), KEEL_PARAM_I64("whole", 3, 0, 0, ""),
                    KEEL_PARAM_BOOL("flag", 1, ""),
                    KEEL_PARAM_ENUM("choice", "b", "", "a", "b", "c"),
                    KEEL_PARAM_STR("text", "t\xC3\xA9xt", ""),
                    KEEL_PARAM_JSON("json", "{\"a\": [1, 2.5, \"x\"]}", ""),
                    KEEL_PARAM_LIST("list", "[1, 2.5, 1e300]", 0, 0, ""),
                    KEEL_PARAM_STR("pointers", "", "one a line"), KEEL_PARAM_BOOL("columns", 0, ""),
                    KEEL_PARAM_BOOL("give", 0, ""), KEEL_PARAM_STR("misuse", "", "")),
        .user = "user", .score = score);

KEEL_PLUGIN("org.example.probe", "1.0.0", &probe)
