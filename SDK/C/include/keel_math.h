/* keel_math.h - the mathematics that plugins, the host and `keel math` share: plain C, in f64, header only.
 *
 * Pure functions on plain arrays: the output first, no allocation, no globals, scratch memory from the caller.
 * Arrays are row-major; B rows, T response tokens, V vocabulary; a mask cell counts when it is not 0 and what
 * stands under a 0 is never read into a result. Nothing here carries gradients. Link with -lm. */
#ifndef KEEL_MATH_H
#define KEEL_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline double keel_math_clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* ---------------------------------------------------------------- KL to the reference */

enum { KEEL_KL_K1 = 1, KEEL_KL_K2 = 2, KEEL_KL_K3 = 3, KEEL_KL_ABS = 4 };

/* Estimate of KL(policy || ref) at one sampled token, d = logprob - ref_logprob (Schulman 2020):
 *     k1 = d    k2 = d^2 / 2    k3 = e^-d - 1 + d, exponent within +-20    abs = |d| */
static inline double keel_math_kl(int estimator, double logprob, double ref_logprob) {
    double d = logprob - ref_logprob;
    switch (estimator) {
    case KEEL_KL_K2:
        return 0.5 * d * d;
    case KEEL_KL_K3:
        return fabs(d) <= 20 ? expm1(-d) + d : exp(keel_math_clamp(-d, -20, 20)) - 1 + d;
    case KEEL_KL_ABS:
        return fabs(d);
    default:
        return d;
    }
}

/* Its derivative by logprob. */
static inline double keel_math_kl_grad(int estimator, double logprob, double ref_logprob) {
    double d = logprob - ref_logprob;
    switch (estimator) {
    case KEEL_KL_K2:
        return d;
    case KEEL_KL_K3:
        return fabs(d) <= 20 ? -expm1(-d) : 1;
    case KEEL_KL_ABS:
        return d > 0 ? 1 : d < 0 ? -1 : 0;
    default:
        return 1;
    }
}

/* Sum of the estimates over the mask of each row: out [B]. */
static inline void keel_math_sequence_kl(double *out, int estimator, const double *logprobs,
                                         const double *ref_logprobs, const double *mask,
                                         size_t rows, size_t time) {
    for (size_t b = 0; b < rows; b++) {
        out[b] = 0;
        for (size_t t = b * time; t < (b + 1) * time; t++)
            if (mask[t] != 0)
                out[b] += keel_math_kl(estimator, logprobs[t], ref_logprobs[t]);
    }
}

/* The next KL coefficient after n responses with mean sequence KL `kl` (Ziegler et al. 2019, section 2.2):
 *     coef * (1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon) */
static inline double keel_math_kl_adaptive(double coef, double kl, double target, double horizon,
                                           double n) {
    return coef * (1 + keel_math_clamp(kl / target - 1, -0.2, 0.2) * n / horizon);
}

/* The rule of PPO-penalty (Schulman et al. 2017, section 4): half below target / 1.5, double above 1.5 * target. */
static inline double keel_math_kl_ppo2017(double coef, double kl, double target) {
    return kl < target / 1.5 ? coef / 2 : kl > target * 1.5 ? coef * 2 : coef;
}

/* ---------------------------------------------------------------- rewards, returns, advantages */

/* out [B,T] = -kl_coef * kl per token, the score added on the last token of the mask; 0 elsewhere. */
static inline void keel_math_token_rewards(double *out, const double *scores,
                                           const double *logprobs, const double *ref_logprobs,
                                           const double *mask, size_t rows, size_t time,
                                           double kl_coef, int estimator) {
    for (size_t b = 0; b < rows; b++) {
        size_t last = time;
        for (size_t t = 0; t < time; t++) {
            size_t i = b * time + t;
            out[i] = mask[i] != 0 ? -kl_coef * keel_math_kl(estimator, logprobs[i], ref_logprobs[i])
                                  : 0;
            if (mask[i] != 0)
                last = t;
        }
        if (last < time)
            out[b * time + last] += scores[b];
    }
}

/* Generalised advantage estimation (Schulman et al. 2016), advantages and returns [B,T]:
 *     delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   returns = A + V
 * Cells outside the mask are stepped over, so gaps inside a response do not matter. After the last
 * token stands bootstrap [B], the value of what would follow (null: 0, the response is over). */
static inline void keel_math_gae(double *advantages, double *returns, const double *rewards,
                                 const double *values, const double *mask, const double *bootstrap,
                                 size_t rows, size_t time, double gamma, double lam) {
    for (size_t b = 0; b < rows; b++) {
        double next_value = bootstrap ? bootstrap[b] : 0, next = 0;
        for (size_t t = time; t-- > 0;) {
            size_t i = b * time + t;
            if (mask[i] == 0) {
                advantages[i] = returns[i] = 0;
                continue;
            }
            next = rewards[i] + gamma * next_value - values[i] + gamma * lam * next;
            next_value = values[i];
            advantages[i] = next;
            returns[i] = next + values[i];
        }
    }
}

/* Discounted sum of the rewards from each token on, minus the row's baseline (null: 0): out [B,T]. */
static inline void keel_math_returns_to_go(double *out, const double *rewards, const double *mask,
                                           const double *baseline, size_t rows, size_t time,
                                           double gamma) {
    for (size_t b = 0; b < rows; b++) {
        double next = 0;
        for (size_t t = time; t-- > 0;) {
            size_t i = b * time + t;
            if (mask[i] == 0) {
                out[i] = 0;
                continue;
            }
            next = rewards[i] + gamma * next;
            out[i] = next - (baseline ? baseline[b] : 0);
        }
    }
}

/* (x - mean) / sqrt(var + eps) over the n cells of the mask (null: all); shift = 0 adds the mean back. `unbiased`: var
 * divides by count - 1. Cells outside become 0. Fewer than two cells: x unchanged. */
static inline void keel_math_whiten(double *out, const double *x, const double *mask, size_t n,
                                    int unbiased, double eps, int shift) {
    double count = 0, mean = 0, var = 0;
    for (size_t i = 0; i < n; i++)
        if (!mask || mask[i] != 0) {
            count += 1;
            mean += x[i];
        }
    mean = count > 0 ? mean / count : 0;
    for (size_t i = 0; i < n; i++)
        if (!mask || mask[i] != 0)
            var += (x[i] - mean) * (x[i] - mean);
    var /= count > 1 ? count - (unbiased ? 1 : 0) : 1;
    for (size_t i = 0; i < n; i++) {
        int inside = !mask || mask[i] != 0;
        out[i] = !inside     ? 0
                 : count < 2 ? x[i]
                             : (x[i] - mean) / sqrt(var + eps) + (shift ? 0 : mean);
    }
}

/* Running mean and variance of scores. Start: {0, 1, 1e-24}. */
typedef struct keel_moments {
    double mean, var, count;
} keel_moments;

/* The standard deviation so far (unbiased): 1 while fewer than two scores were seen, never below 1e-8. */
static inline double keel_math_moments_std(const keel_moments *m) {
    double std = m->count < 1.5 ? 1 : sqrt(m->var * m->count / (m->count - 1));
    return std > 1e-8 ? std : 1e-8;
}

/* Takes a batch of n scores into the moments (Chan's parallel rule). */
static inline void keel_math_moments_add(keel_moments *m, const double *x, size_t n) {
    if (n == 0)
        return;
    double mean = 0, var = 0, count = (double)n;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / count;
    for (size_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean) / count;
    double delta = mean - m->mean, total = m->count + count;
    m->var = (m->var * m->count + var * count + delta * delta * m->count * count / total) / total;
    m->mean += delta * count / total;
    m->count = total;
}

enum {
    KEEL_BASELINE_NONE = 0,
    KEEL_BASELINE_MEAN = 1,
    KEEL_BASELINE_LEAVE_ONE_OUT = 2,
    KEEL_BASELINE_LENGTH_WEIGHTED = 3
};
enum { KEEL_SCALE_NONE = 0, KEEL_SCALE_GROUP = 1, KEEL_SCALE_BATCH = 2 };

typedef struct keel_group_options {
    int baseline, scale; /* KEEL_BASELINE_*, KEEL_SCALE_* */
    int normalize_then_sum; /* normalise each function in its group, weigh, sum, normalise over the batch */
    double eps;             /* added to standard deviations */
    double kl_coef;         /* times sequence_kl, taken from the reward before the baseline */
    double clip_low, clip_high; /* of the summed reward; both 0: off */
} keel_group_options;

/* Count, mean and unbiased standard deviation of the cells x[i * stride] that are numbers: those of
 * rows of group g, or all when group is null. */
static inline void keel_math_stats_(const double *x, size_t stride, const int32_t *group, int32_t g,
                                    size_t n, double *count, double *mean, double *std) {
    double c = 0, m = 0, v = 0;
    for (size_t i = 0; i < n; i++)
        if ((!group || group[i] == g) && !isnan(x[i * stride])) {
            c += 1;
            m += x[i * stride];
        }
    m = c > 0 ? m / c : 0;
    for (size_t i = 0; i < n; i++)
        if ((!group || group[i] == g) && !isnan(x[i * stride]))
            v += (x[i * stride] - m) * (x[i * stride] - m);
    *count = c, *mean = m, *std = c > 1 ? sqrt(v / (c - 1)) : 0;
}

static inline int keel_math_first_of_group_(const int32_t *group, size_t i) {
    for (size_t j = i; j-- > 0;)
        if (group[j] == group[i])
            return 0;
    return 1;
}

/* Advantages [N] of responses that share a prompt, from the scores x [N,F] of F reward functions (NaN: does not apply).
 *     R = sum_f weights_f x_f -> clip -> minus kl_coef * sequence_kl -> minus the group's baseline -> scale
 *     mean: R - mean     leave_one_out: R - mean of the others     length_weighted: R - sum(len R) / sum(len)
 *     scale group: / (std of the group's R + eps)     batch: / (std + eps), of R (mean) or of the advantages (else)
 * Standard deviations are unbiased. rewards [N] is the weighted sum, NaN where no function applied; such rows are in
 * no statistic and have advantage 0. sequence_kl and lengths may be null where they are not used. (RLOO, GRPO, OPO.) */
static inline void keel_math_group_advantages(double *rewards, double *advantages, const double *x,
                                              const double *weights, const int32_t *group,
                                              const double *sequence_kl, const double *lengths,
                                              size_t n, size_t functions,
                                              const keel_group_options *o) {
    double count, mean, std;
    for (size_t i = 0; i < n; i++) {
        double sum = 0, seen = 0;
        for (size_t f = 0; f < functions; f++)
            if (!isnan(x[i * functions + f])) {
                sum += weights[f] * x[i * functions + f];
                seen += 1;
            }
        rewards[i] = advantages[i] = seen > 0 ? sum : NAN;
    }
    if (o->normalize_then_sum) {
        for (size_t i = 0; i < n; i++)
            if (!isnan(advantages[i]))
                advantages[i] = 0;
        for (size_t f = 0; f < functions; f++)
            for (size_t i = 0; i < n; i++) {
                if (!keel_math_first_of_group_(group, i))
                    continue;
                keel_math_stats_(x + f, functions, group, group[i], n, &count, &mean, &std);
                for (size_t j = i; j < n; j++)
                    if (group[j] == group[i] && !isnan(x[j * functions + f]))
                        advantages[j] += weights[f] * (x[j * functions + f] - mean) /
                                         (std + o->eps);
            }
        keel_math_stats_(advantages, 1, 0, 0, n, &count, &mean, &std);
        for (size_t i = 0; i < n; i++)
            advantages[i] = isnan(advantages[i]) ? 0 : (advantages[i] - mean) / (std + o->eps);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (o->clip_low < o->clip_high)
            advantages[i] = keel_math_clamp(advantages[i], o->clip_low, o->clip_high);
        if (sequence_kl && o->kl_coef != 0)
            advantages[i] -= o->kl_coef * sequence_kl[i];
    }
    double batch_std = 0;
    if (o->scale == KEEL_SCALE_BATCH && o->baseline == KEEL_BASELINE_MEAN)
        keel_math_stats_(advantages, 1, 0, 0, n, &count, &mean, &batch_std);
    for (size_t i = 0; i < n; i++) {
        if (!keel_math_first_of_group_(group, i))
            continue;
        keel_math_stats_(advantages, 1, group, group[i], n, &count, &mean, &std);
        double base = mean, factor = 1;
        if (o->baseline == KEEL_BASELINE_NONE)
            base = 0;
        if (o->baseline == KEEL_BASELINE_LEAVE_ONE_OUT)
            factor = count > 1 ? count / (count - 1) : 0;
        if (o->baseline == KEEL_BASELINE_LENGTH_WEIGHTED && lengths) {
            double top = 0, bottom = 0;
            for (size_t j = i; j < n; j++)
                if (group[j] == group[i] && !isnan(advantages[j])) {
                    top += lengths[j] * advantages[j];
                    bottom += lengths[j];
                }
            base = bottom > 0 ? top / bottom : mean;
        }
        int32_t g = group[i];
        for (size_t j = i; j < n; j++) {
            if (group[j] != g)
                continue;
            advantages[j] = (advantages[j] - base) * factor;
            if (o->scale == KEEL_SCALE_GROUP)
                advantages[j] /= std + o->eps;
        }
    }
    if (o->scale == KEEL_SCALE_BATCH && o->baseline != KEEL_BASELINE_MEAN)
        keel_math_stats_(advantages, 1, 0, 0, n, &count, &mean, &batch_std);
    for (size_t i = 0; i < n; i++) {
        if (o->scale == KEEL_SCALE_BATCH)
            advantages[i] /= batch_std + o->eps;
        if (isnan(rewards[i]))
            advantages[i] = 0;
    }
}

/* ---------------------------------------------------------------- many rewards, one number */

/* Whether the safety score decides (Touvron et al. 2023, section 3.4): the prompt is tagged, or safety < threshold. */
static inline int keel_math_uses_safety(double safety, int is_tagged, double threshold) {
    return is_tagged || safety < threshold;
}

/* log(p / (1 - p)) of a probability held within [1e-6, 1 - 1e-6]. */
static inline double keel_math_logit(double p) {
    p = keel_math_clamp(p, 1e-6, 1 - 1e-6);
    return log(p / (1 - p));
}

/* DAPO's soft overlong punishment (Yu et al. 2025, equation 13), times factor: 0 up to max_length - cache tokens, then
 * linear to -1 at max_length, -1 beyond. cache 0: 0 up to max_length, -1 beyond. */
static inline double keel_math_overlong(double length, double max_length, double cache,
                                        double factor) {
    double over = length - (max_length - cache);
    if (over <= 0)
        return 0;
    return -factor * (over < cache ? over / cache : 1);
}

/* The score of a response that was cut at the length limit: coef * score for coef >= 0, coef itself below 0. */
static inline double keel_math_stop_properly(double score, int is_truncated, double coef) {
    return !is_truncated ? score : coef < 0 ? coef : coef * score;
}

/* (1 - different n-grams / all n-grams) * max_penalty over ids; 0 when there are fewer than `size` ids. */
static inline double keel_math_repetition(const int32_t *ids, size_t n, size_t size,
                                          double max_penalty) {
    if (size == 0 || n < size)
        return 0;
    size_t all = n - size + 1, different = 0;
    for (size_t i = 0; i < all; i++) {
        size_t j = 0;
        while (j < i) {
            size_t k = 0;
            while (k < size && ids[j + k] == ids[i + k])
                k++;
            if (k == size)
                break;
            j++;
        }
        different += j == i;
    }
    return (1 - (double)different / (double)all) * max_penalty;
}

/* ---------------------------------------------------------------- log-probabilities */

/* log sum e^x over n cells, without overflow; -inf when all are -inf. */
static inline double keel_math_logsumexp(const double *x, size_t n) {
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > top || isnan(x[i]))
            top = x[i];
    if (isinf(top) || isnan(top))
        return top;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - top);
    return top + log(sum);
}

/* Log-probability of one token under a row of logits [V]. */
static inline double keel_math_token_logprob(const double *logits, size_t vocab, size_t token) {
    return logits[token] - keel_math_logsumexp(logits, vocab);
}

/* Adds the gradient of g * logprob(token) by the logits: g * (onehot - softmax). */
static inline void keel_math_token_logprob_grad(double *grad, const double *logits, size_t vocab,
                                                size_t token, double g) {
    double lse = keel_math_logsumexp(logits, vocab);
    for (size_t v = 0; v < vocab; v++)
        grad[v] -= g * exp(logits[v] - lse);
    grad[token] += g;
}

/* ---------------------------------------------------------------- token samplers
 * Filters of one row of logits [V], in place, in the order of transformers: repetition penalty, no-repeat n-gram, min new
 * tokens, temperature, top-k, top-p, min-p, typical, epsilon, eta. An excluded token becomes -inf; -inf stays -inf; each
 * filter takes the softmax over what the earlier ones left, and the most likely token always stays. `order` [V] and `p`
 * [V] are scratch; `context` holds the ids so far, prompt first. */

/* Each distinct token of the context once: l < 0 ? l * penalty : l / penalty (Keskar et al. 2019). */
static inline void keel_math_repetition_penalty(double *logits, size_t vocab,
                                                const int32_t *context, size_t n, double penalty,
                                                int32_t *order) {
    for (size_t v = 0; v < vocab; v++)
        order[v] = 0;
    for (size_t i = 0; i < n; i++) {
        if (context[i] < 0 || (size_t)context[i] >= vocab || order[context[i]])
            continue;
        order[context[i]] = 1;
        double *l = &logits[context[i]];
        *l = *l < 0 ? *l * penalty : *l / penalty;
    }
}

/* Excludes tokens that would complete an n-gram of `size` tokens that is already in the context. */
static inline void keel_math_no_repeat_ngram(double *logits, size_t vocab, const int32_t *context,
                                             size_t n, size_t size) {
    if (size == 0 || n + 1 < size)
        return;
    for (size_t i = 0; i + size <= n; i++) {
        size_t k = 0;
        while (k + 1 < size && context[i + k] == context[n + 1 - size + k])
            k++;
        int32_t banned = context[i + size - 1];
        if (k + 1 == size && banned >= 0 && (size_t)banned < vocab)
            logits[banned] = -INFINITY;
    }
}

/* Excludes the end-of-text token while fewer than `least` tokens are generated. */
static inline void keel_math_min_new_tokens(double *logits, size_t vocab, size_t generated,
                                            size_t least, int64_t eos) {
    if (generated < least && eos >= 0 && (size_t)eos < vocab)
        logits[eos] = -INFINITY;
}

/* logits / temperature, temperature > 0. */
static inline void keel_math_temperature(double *logits, size_t vocab, double temperature) {
    for (size_t v = 0; v < vocab; v++)
        logits[v] /= temperature;
}

/* p = softmax(logits); returns the entropy in nats. */
static inline double keel_math_softmax(double *p, const double *logits, size_t vocab) {
    double lse = keel_math_logsumexp(logits, vocab), entropy = 0;
    for (size_t v = 0; v < vocab; v++) {
        p[v] = exp(logits[v] - lse);
        if (p[v] > 0)
            entropy -= p[v] * (logits[v] - lse);
    }
    return entropy;
}

/* A heap of indices with the largest key on top; equal keys: the smaller index first. */
static inline void keel_math_sift_(int32_t *heap, const double *key, size_t i, size_t n) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n &&
            (key[heap[child + 1]] > key[heap[child]] ||
             (key[heap[child + 1]] == key[heap[child]] && heap[child + 1] < heap[child])))
            child++;
        if (key[heap[i]] > key[heap[child]] ||
            (key[heap[i]] == key[heap[child]] && heap[i] < heap[child]))
            return;
        int32_t t = heap[i];
        heap[i] = heap[child], heap[child] = t;
    }
}
static inline void keel_math_heap_(int32_t *heap, const double *key, size_t n) {
    for (size_t i = 0; i < n; i++)
        heap[i] = (int32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        keel_math_sift_(heap, key, i, n);
}
/* Takes the top index off a heap of n and puts it behind the other n - 1. */
static inline int32_t keel_math_pop_(int32_t *heap, const double *key, size_t n) {
    int32_t top = heap[0];
    heap[0] = heap[n - 1], heap[n - 1] = top;
    keel_math_sift_(heap, key, 0, n - 1);
    return top;
}

/* Excludes logits below the k-th largest; ties at the threshold stay. */
static inline void keel_math_top_k(double *logits, size_t vocab, size_t k, int32_t *order) {
    if (k == 0 || k >= vocab)
        return;
    keel_math_heap_(order, logits, vocab);
    double least = 0;
    for (size_t i = 0; i < k; i++)
        least = logits[keel_math_pop_(order, logits, vocab - i)];
    for (size_t v = 0; v < vocab; v++)
        if (logits[v] < least)
            logits[v] = -INFINITY;
}

/* Keeps the fewest tokens, the likeliest first, whose mass reaches top_p (Holtzman et al. 2020). */
static inline void keel_math_top_p(double *logits, size_t vocab, double top_p, int32_t *order,
                                   double *p) {
    if (top_p >= 1)
        return;
    keel_math_softmax(p, logits, vocab);
    keel_math_heap_(order, p, vocab);
    size_t kept = 0;
    double mass = 0;
    while (kept < vocab && (kept == 0 || mass < top_p))
        mass += p[keel_math_pop_(order, p, vocab - kept++)];
    for (size_t i = 0; i < vocab - kept; i++)
        logits[order[i]] = -INFINITY; /* what was not popped */
}

/* Excludes tokens whose probability is below `floor`; those as likely as the likeliest stay. */
static inline void keel_math_floor_(double *logits, const double *p, size_t vocab, double floor) {
    double top = 0;
    for (size_t v = 0; v < vocab; v++)
        if (p[v] > top)
            top = p[v];
    for (size_t v = 0; v < vocab; v++)
        if (p[v] < floor && p[v] < top)
            logits[v] = -INFINITY;
}

/* Excludes tokens less likely than min_p times the likeliest. */
static inline void keel_math_min_p(double *logits, size_t vocab, double min_p, double *p) {
    double top = 0;
    keel_math_softmax(p, logits, vocab);
    for (size_t v = 0; v < vocab; v++)
        if (p[v] > top)
            top = p[v];
    keel_math_floor_(logits, p, vocab, min_p * top);
}

/* Keeps the tokens whose surprise is nearest the entropy, until their mass reaches `mass` (Meister et al. 2023). `p` has 2V cells. */
static inline void keel_math_typical_p(double *logits, size_t vocab, double mass, int32_t *order,
                                       double *p) {
    if (mass >= 1)
        return;
    double entropy = keel_math_softmax(p, logits, vocab), lse = keel_math_logsumexp(logits, vocab),
           sum = 0, last = 0;
    double *near = p + vocab; /* minus the distance, so that the heap's top is the nearest */
    for (size_t v = 0; v < vocab; v++)
        near[v] = -fabs(lse - logits[v] - entropy);
    keel_math_heap_(order, near, vocab);
    for (size_t i = 0; i < vocab; i++) {
        int32_t v = keel_math_pop_(order, near, vocab - i);
        last = near[v];
        sum += p[v];
        if (sum >= mass)
            break;
    }
    for (size_t v = 0; v < vocab; v++)
        if (near[v] < last)
            logits[v] = -INFINITY;
}

/* Excludes tokens of probability below epsilon (Hewitt et al. 2022). */
static inline void keel_math_epsilon_cutoff(double *logits, size_t vocab, double epsilon,
                                            double *p) {
    keel_math_softmax(p, logits, vocab);
    keel_math_floor_(logits, p, vocab, epsilon);
}

/* Excludes tokens of probability below min(epsilon, sqrt(epsilon) * e^-entropy) (Hewitt et al. 2022). */
static inline void keel_math_eta_cutoff(double *logits, size_t vocab, double epsilon, double *p) {
    double entropy = keel_math_softmax(p, logits, vocab), other = sqrt(epsilon) * exp(-entropy);
    keel_math_floor_(logits, p, vocab, epsilon < other ? epsilon : other);
}

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
