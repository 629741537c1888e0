/* keel_math_logits.h - the part of keel_math.h that works on logits: log-probabilities and the filters of token samplers.
 *
 * Included by keel_math.h; the same rules. */
#ifndef KEEL_MATH_LOGITS_H
#define KEEL_MATH_LOGITS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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
 * filter takes the softmax over what the earlier ones left, and but for the n-gram ban and typical the most likely token
 * always stays. `order` [V] and `p` [V] are scratch; `context` holds the ids so far, prompt first. */

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
