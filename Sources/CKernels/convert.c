#include "ckernels.h"

#include <string.h>

static inline float bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (u & 0x7fffffffu) > 0x7f800000u ? (uint16_t)((u >> 16) | 0x40u) : (uint16_t)r;
}

/* f64 to bf16 in one rounding: the f32 in between is rounded to odd, which keeps what the second needs. */
static inline uint16_t f64_to_bf16(double d) {
    float f = (float)d;
    if ((double)f != d && f == f) {
        uint32_t u;
        memcpy(&u, &f, 4);
        if (!(u & 1u)) {
            int away = (double)f < d ? f >= 0 : f <= 0; /* f lies nearer to 0 than d */
            if ((u & 0x7fffffffu) != 0x7f800000u)
                u = away ? u | 1u : ((u & 0x7fffffffu) ? u - 1u : u);
        }
        memcpy(&f, &u, 4);
    }
    return f32_to_bf16(f);
}

static inline int32_t f64_to_i32(double d) {
    if (!(d > -2147483648.0))
        return INT32_MIN; /* NaN too */
    return d >= 2147483647.0 ? INT32_MAX : (int32_t)d;
}

#define LOOP(TO, FROM, EXPR)                                                                       \
    do {                                                                                           \
        TO *out = (TO *)y;                                                                         \
        const FROM *in = (const FROM *)x;                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            FROM c = in[i];                                                                        \
            out[i] = (EXPR);                                                                       \
        }                                                                                          \
    } while (0)

void ck_convert(void *y, int32_t y_type, const void *x, int32_t x_type, int64_t n) {
    static const size_t size[4] = {4, 8, 2, 4};
    if (y_type == x_type) {
        memmove(y, x, (size_t)n * size[y_type]);
        return;
    }
    switch (y_type * 4 + x_type) {
    case CK_F32 * 4 + CK_F64:
        LOOP(float, double, (float)c);
        break;
    case CK_F32 * 4 + CK_BF16:
        LOOP(float, uint16_t, bf16_to_f32(c));
        break;
    case CK_F32 * 4 + CK_I32:
        LOOP(float, int32_t, (float)c);
        break;
    case CK_F64 * 4 + CK_F32:
        LOOP(double, float, (double)c);
        break;
    case CK_F64 * 4 + CK_BF16:
        LOOP(double, uint16_t, (double)bf16_to_f32(c));
        break;
    case CK_F64 * 4 + CK_I32:
        LOOP(double, int32_t, (double)c);
        break;
    case CK_BF16 * 4 + CK_F32:
        LOOP(uint16_t, float, f32_to_bf16(c));
        break;
    case CK_BF16 * 4 + CK_F64:
        LOOP(uint16_t, double, f64_to_bf16(c));
        break;
    case CK_BF16 * 4 + CK_I32:
        LOOP(uint16_t, int32_t, f64_to_bf16((double)c));
        break;
    case CK_I32 * 4 + CK_F32:
        LOOP(int32_t, float, f64_to_i32((double)c));
        break;
    case CK_I32 * 4 + CK_F64:
        LOOP(int32_t, double, f64_to_i32(c));
        break;
    case CK_I32 * 4 + CK_BF16:
        LOOP(int32_t, uint16_t, f64_to_i32((double)bf16_to_f32(c)));
        break;
    default:
        break;
    }
}
