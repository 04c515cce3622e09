/* The likeliest tokens of a row in order, without sorting the vocabulary: a few candidates first. */

#ifndef FORETOKEN_LIKELIEST_H
#define FORETOKEN_LIKELIEST_H

#include "passes.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "candidates_from reads bytes in little-endian order; NumPy takes its place"
#endif

/* More candidates than this for top_k, as of a row with many ties, are left to NumPy. */
#define MOST_CANDIDATES 512

/* A number that ascends with the logit; the same for 0 and -0. */
static inline uint32_t key_of(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline float logit_of(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

/* The k-th largest of the maxima of groups, by bisection: at least k logits are as large. */
PASS float kth_largest(const float *restrict maxima, int32_t k)
{
    uint32_t keys[NUM_GROUPS];
    for (int j = 0; j < NUM_GROUPS; j++)
        keys[j] = key_of(maxima[j]);
    uint32_t found = 0;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
        int32_t count = 0;
        for (int j = 0; j < NUM_GROUPS; j++)
            count += keys[j] >= (found | bit);
        if (count >= k)
            found |= bit;
    }
    return logit_of(found);
}

/* A number that sorts by descending logit, then by ascending id. */
static inline uint64_t candidate(const float *logits, int64_t token)
{
    return (uint64_t)~key_of(logits[token]) << 32 | (uint64_t)token;
}

/* The candidates whose logits are at least ``bound``; how many there are, or -1 for more than there
 * is room for. Where one lies is not to be foreseen, so that branches would mostly be guessed wrong:
 * of each strip one is taken, and counts if it is there. */
PASS int64_t candidates_from(const float *restrict logits, int64_t width, float bound,
                             uint64_t *restrict keys)
{
    enum { STRIP = 64 };
    int64_t count = 0;
    int64_t start = 0;
    for (; start + STRIP <= width; start += STRIP) {
        uint8_t flags[STRIP];
        for (int64_t j = 0; j < STRIP; j++)
            flags[j] = logits[start + j] >= bound;
        uint64_t found = 0;
        for (int64_t j = 0; j < STRIP; j += 8) {
            uint64_t eight;
            memcpy(&eight, flags + j, sizeof eight);
            /* The lowest bits of eight bytes, side by side. */
            found |= eight * 0x0102040810204080u >> 56 << j;
        }
        if (count + STRIP > MOST_CANDIDATES)
            return -1;
        keys[count] = candidate(logits, start + __builtin_ctzll(found | 1ull << 63));
        count += found != 0;
        for (found &= found - 1; found; found &= found - 1)
            keys[count++] = candidate(logits, start + __builtin_ctzll(found));
    }
    if (count + STRIP > MOST_CANDIDATES)
        return -1;
    for (int64_t token = start; token < width; token++)
        if (logits[token] >= bound)
            keys[count++] = candidate(logits, token);
    return count;
}

/* The first of ``keys``, all different, in ascending order: each goes to the place that as many as
 * are smaller leave it, which takes no branches. */
PASS void rank(const uint64_t *restrict keys, int64_t count, int64_t num_wanted,
               int32_t *restrict tokens)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t key = keys[i];
        int64_t place = 0;
        for (int64_t j = 0; j < count; j++)
            place += keys[j] < key;
        if (place < num_wanted)
            tokens[place] = (int32_t)(key & 0xFFFFFFFFu);
    }
}

#endif
