/* keel_math_rows.h - the part of keel_math.h that works on whole rows: roll-outs, composed rewards, choosing and ordering.
 *
 * Included by keel_math.h; the same rules. */
#ifndef KEEL_MATH_ROWS_H
#define KEEL_MATH_ROWS_H

#include "keel_math.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- roll-outs */

/* Where a reward head reads: the index of the last token that is not padding; 0 when all are. */
static inline size_t keel_math_last_position(const int32_t *ids, size_t n, int32_t pad) {
    while (n > 1 && ids[n - 1] == pad)
        n--;
    return n > 0 ? n - 1 : 0;
}

enum {
    KEEL_WEIGHT_TOKEN_TRUNCATE = 1,    /* min(ratio, high) */
    KEEL_WEIGHT_TOKEN_MASK = 2,        /* ratio where low <= ratio <= high, else 0 */
    KEEL_WEIGHT_SEQUENCE_TRUNCATE = 3, /* min(product of the row's ratios, high) */
    KEEL_WEIGHT_SEQUENCE_MASK = 4,     /* that product where it is within the bounds, else 0 */
    KEEL_WEIGHT_SEQ_MASK_TIS =
        5 /* ratio where the row's geometric mean is within the bounds, else 0 */
};

/* Importance weights [B,T] of tokens whose sampler and trainer disagree, 0 outside of the mask:
 *     ratio_t = exp(clamp(old_logprobs - behavior_logprobs, -20, 20))
 * `normalize` divides by the mean weight: over tokens, or over rows for the two whole-sequence modes. */
static inline void keel_math_sampler_weights(double *out, const double *old_logprobs,
                                             const double *behavior_logprobs, const double *mask,
                                             size_t rows, size_t time, int mode, double low,
                                             double high, int normalize) {
    int whole = mode == KEEL_WEIGHT_SEQUENCE_TRUNCATE || mode == KEEL_WEIGHT_SEQUENCE_MASK;
    double total = 0, count = 0;
    for (size_t b = 0; b < rows; b++) {
        double sum = 0, cells = 0, row = 0;
        for (size_t t = b * time; t < (b + 1) * time; t++)
            if (mask[t] != 0) {
                sum += old_logprobs[t] - behavior_logprobs[t];
                cells += 1;
            }
        double product = exp(keel_math_clamp(sum, -20, 20));
        double average = exp(keel_math_clamp(cells > 0 ? sum / cells : 0, -20, 20));
        for (size_t t = b * time; t < (b + 1) * time; t++) {
            double d = mask[t] != 0 ? old_logprobs[t] - behavior_logprobs[t] : 0;
            double w = whole ? product : exp(keel_math_clamp(d, -20, 20));
            double judged = mode == KEEL_WEIGHT_SEQ_MASK_TIS ? average : w;
            if (mode == KEEL_WEIGHT_TOKEN_TRUNCATE || mode == KEEL_WEIGHT_SEQUENCE_TRUNCATE)
                w = w < high ? w : high;
            else if (!(judged >= low && judged <= high))
                w = 0;
            out[t] = mask[t] != 0 ? w : 0;
            if (mask[t] != 0) {
                row = w;
                total += whole ? 0 : w;
                count += whole ? 0 : 1;
            }
        }
        if (whole && cells > 0) {
            total += row;
            count += 1;
        }
    }
    if (!normalize || !(total > 0))
        return;
    for (size_t i = 0; i < rows * time; i++)
        out[i] /= total / count;
}

/* The best and the worst response of each group after a penalty for those that did not end by themselves; the earlier
 * row wins a tie. Groups in the order in which they begin; those where best and worst are equal are left out when
 * `drop_ties`. Returns how many pairs were written to chosen and rejected (room for n/2). */
static inline size_t keel_math_choose_pairs(int64_t *chosen, int64_t *rejected,
                                            const double *rewards, const double *finished,
                                            const int32_t *group, size_t n, double penalty,
                                            int drop_ties) {
    size_t pairs = 0;
    for (size_t i = 0; i < n; i++) {
        if (!keel_math_first_of_group_(group, i))
            continue;
        size_t best = i, worst = i, members = 0;
        double top = 0, bottom = 0;
        for (size_t j = i; j < n; j++) {
            if (group[j] != group[i] || isnan(rewards[j]))
                continue;
            double r = rewards[j] - (finished && finished[j] == 0 ? penalty : 0);
            if (members == 0 || r > top)
                best = j, top = r;
            if (members == 0 || r < bottom)
                worst = j, bottom = r;
            members += 1;
        }
        if (members < 2 || (drop_ties && top == bottom))
            continue;
        if (top == bottom)
            for (size_t j = best + 1; j < n; j++)
                if (group[j] == group[i] && !isnan(rewards[j])) {
                    worst = j;
                    break;
                }
        chosen[pairs] = (int64_t)best;
        rejected[pairs++] = (int64_t)worst;
    }
    return pairs;
}

/* A moving-average reference: ref = (1 - alpha) ref + alpha policy, in place. */
static inline void keel_math_mix_reference(double *ref, const double *policy, size_t n,
                                           double alpha) {
    for (size_t i = 0; i < n; i++)
        ref[i] = (1 - alpha) * ref[i] + alpha * policy[i];
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

/* ---------------------------------------------------------------- choosing rows */

/* The k best of n scores, best first, ties to the earlier; NaN is never among them while numbers are left. k <= n. */
static inline void keel_math_best_of_n(int64_t *best, const double *scores, size_t n, size_t k) {
    for (size_t at = 0; at < k; at++) {
        size_t found = n;
        for (size_t i = 0; i < n; i++) {
            int taken = 0;
            for (size_t j = 0; j < at; j++)
                taken |= best[j] == (int64_t)i;
            if (!taken && (found == n || scores[i] > scores[found] ||
                           (isnan(scores[found]) && !isnan(scores[i]))))
                found = i;
        }
        best[at] = (int64_t)found;
    }
}

/* Whether a group of n outcomes teaches anything: bit 0: they differ; bit 1: low < mean < high. */
static inline int keel_math_keep_group(const double *outcomes, size_t n, double low, double high) {
    double mean = 0;
    int mixed = 0;
    for (size_t i = 0; i < n; i++) {
        mean += outcomes[i] / (double)n;
        mixed |= outcomes[i] != outcomes[0];
    }
    return mixed | (n > 0 && mean > low && mean < high ? 2 : 0);
}

/* Running sums of the weights above 0: `kept` holds their rows, `cumulative` the sums divided by the last. Returns how many. */
static inline size_t keel_math_priorities(int64_t *kept, double *cumulative, const double *weights,
                                          size_t n) {
    size_t count = 0;
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i] > 0 ? weights[i] : 0;
    for (size_t i = 0; i < n; i++)
        if (weights[i] > 0) {
            kept[count] = (int64_t)i;
            cumulative[count++] = sum += weights[i] / total;
        }
    return count;
}

/* The place of a draw among `count` cumulative sums: the first that is above u times the last, u in [0, 1). */
static inline size_t keel_math_draw(const double *cumulative, size_t count, double u) {
    size_t low = 0, high = count > 0 ? count - 1 : 0;
    double target = count > 0 ? u * cumulative[count - 1] : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cumulative[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Rows of similar length near each other (transformers): a permutation in blocks of mult * batch rows, each sorted longest
 * first and stable; the longest of all is swapped to the front. mult 0: n / (4 batch), at most 50, at least 1. In place. */
static inline void keel_math_length_grouped(int64_t *order, const double *lengths, size_t n,
                                            size_t batch, size_t mult) {
    if (n == 0 || batch == 0)
        return;
    if (mult == 0)
        mult = n / (4 * batch) < 50 ? n / (4 * batch) : 50;
    size_t block = (mult > 0 ? mult : 1) * batch, longest = 0;
    for (size_t start = 0; start < n; start += block) {
        size_t end = n - start < block ? n : start + block;
        for (size_t i = start + 1; i < end; i++) {
            int64_t row = order[i];
            size_t j = i;
            for (; j > start && lengths[order[j - 1]] < lengths[row]; j--)
                order[j] = order[j - 1];
            order[j] = row;
        }
        if (lengths[order[start]] > lengths[order[longest]])
            longest = start;
    }
    int64_t first = order[0];
    order[0] = order[longest];
    order[longest] = first;
}

/* Each row of a permutation `group` times in a row, each block of `batch` rows `repeats` times; a last block that is not
 * full is dropped. Returns the length of the order: n / batch * batch * group * repeats; `order` null only counts. */
static inline size_t keel_math_repeat_order(int64_t *order, const int64_t *permutation, size_t n,
                                            size_t batch, size_t group, size_t repeats) {
    size_t at = 0;
    for (size_t start = 0; batch > 0 && start + batch <= n; start += batch)
        for (size_t again = 0; again < repeats; again++)
            for (size_t i = start; i < start + batch; i++)
                for (size_t g = 0; g < group; g++, at++)
                    if (order)
                        order[at] = permutation[i];
    return at;
}

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
