#include "worker.h"

/* KeelCore/RandomStream.swift in C: Philox4x32-10 (Salmon et al. 2011), keyed by seed and place. The two must
 * give the same bits; a test compares them. */

static uint64_t mix(uint64_t x) {
    uint64_t z = x + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t random_bits(uint64_t seed, const char *place, uint64_t time, uint64_t row, uint64_t n) {
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (const unsigned char *at = (const unsigned char *)place; *at; at++)
        hash = (hash ^ *at) * 0x100000001B3u;
    uint64_t key = mix(seed ^ mix(hash)), high = mix(hash + seed);
    const uint64_t counters[2] = {time, row};
    for (int i = 0; i < 2; i++)
        high = mix(high ^ mix(counters[i] + 0x9E3779B97F4A7C15u));
    uint64_t counter = n >> 1;
    uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)high,
                     (uint32_t)(high >> 32)};
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t first = (uint32_t)(b >> 32) ^ c[1] ^ k[0],
                 third = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
        c[0] = first, c[1] = (uint32_t)b, c[2] = third, c[3] = (uint32_t)a;
        k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
    }
    return n & 1 ? (uint64_t)c[2] | (uint64_t)c[3] << 32 : (uint64_t)c[0] | (uint64_t)c[1] << 32;
}
