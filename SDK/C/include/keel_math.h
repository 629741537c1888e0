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
#include "keel_math_logits.h"

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

#ifdef __cplusplus
} /* extern "C" */
#endif

#include "keel_math_rows.h"
#endif
