/* Plain C functions that know nothing of Keel, called through native.c. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int shared_counter = 0;

double length_of(const char *text) { return (double)strlen(text); }
double bytes_of(const char *text, size_t length) { return text ? (double)length : -1; }
float half(float x) { return x / 2; }
double minus(double a, int32_t b) { return a - b; }
int64_t wide(int64_t x) { return x; }
int32_t negative(const char *text) { return -(int32_t)strlen(text); }
bool is_same(const char *a, const char *b) { return strcmp(a, b) == 0; }
double last_token(const int32_t *ids, size_t count) { return count ? ids[count - 1] : -1; }
double never(const char *text) { return text[0] ? NAN : 1; }
double constant(void) { return 42; }
double powers(double base, int32_t exponent, const char *mode) {
    double power = strcmp(mode, "negative") == 0 ? -1 : 1;
    for (int32_t i = 0; i < exponent; i++)
        power *= base;
    return power;
}
/* Takes more arguments than there are registers. */
double many(double a, double b, double c, double d, double e, double f, double g, double h,
            double i, int32_t j, const char *k, size_t k_length, int64_t l, float m, int64_t n,
            int64_t o) {
    return a + b + c + d + e + f + g + h + i + j + (double)k_length + k[0] + (double)l + m +
           (double)n + (double)o;
}
/* Scores rank of each text by its length; `bonus` is added. */
void ranks(const char *const *texts, size_t n, float *out, double bonus) {
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)bonus;
        for (size_t j = 0; j < n; j++)
            out[i] += strlen(texts[j]) < strlen(texts[i]);
    }
}
void some(size_t n, const char *const *texts, const char *const *others, double *out) {
    for (size_t i = 0; i < n; i++)
        if (texts[i][0] == others[i][0])
            out[i] = (double)n;
}
void greedy(const char *const *texts, size_t n, float *out) {
    for (size_t i = 0; i <= n; i++)
        out[i] = texts[0][0];
}
double crash(const char *text) {
    if (strcmp(text, "crash") == 0)
        *(volatile int *)8 = 1;
    return 1;
}
double leave(const char *text) {
    if (strcmp(text, "leave") == 0)
        exit(3);
    return 1;
}
