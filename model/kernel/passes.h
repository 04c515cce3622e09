/* What drawing and scoring have in common: passes over the vocabulary, in plain loops that compilers
 * turn into vectors.
 *
 * The same definitions, order of tokens and random numbers as model/sampling and model/scoring.py have
 * in NumPy, which needs a pass through memory for every operation. Sums are rounded otherwise than
 * there, so a draw that falls within some 1e-6 of the border between two tokens may fall on the other
 * side of it.
 *
 * What a row gives does not depend on the rows beside it. No memory is taken, nothing is kept.
 */

#ifndef FORETOKEN_PASSES_H
#define FORETOKEN_PASSES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The passes are compiled for several generations of processors; the loader picks one. Within another
 * function a compiler may fail to see that what they write does not overlap with what they read. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
#define GENERATIONS target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")
#else
#define GENERATIONS target_clones("default", "avx2")
#endif
#define PASS __attribute__((noinline, unused, GENERATIONS)) static
#elif defined(__GNUC__)
#define PASS __attribute__((noinline, unused)) static
#else
#define PASS static
#endif

/* Tokens j, j + 128, ... are group j: model.sampling.ranking.NUM_GROUPS. */
#define NUM_GROUPS 128

/* Between these exp is a normal float32 number. */
#define LEAST_SCORE -87.0f
#define MOST_SCORE 88.0f

/* In place of a token: there is none; NumPy has to look. */
enum { NO_TOKEN = -1, UNDECIDED = -2 };

/* exp(score): a polynomial on [-ln 2 / 2, ln 2 / 2] times a power of two, as in Cephes' expf
 * (Moshier); within 2 units of the last place. 0 below LEAST_SCORE; NaN for NaN. */
static inline float weight_of(float score)
{
    float x = score > MOST_SCORE ? MOST_SCORE : score;
    x = x < LEAST_SCORE ? LEAST_SCORE : x;
    float n = x * 1.44269504088896341f;
    n = (n + 0x1.8p23f) - 0x1.8p23f; /* to the nearest whole number */
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = (int32_t)((uint32_t)((int32_t)n + 127) << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return score < LEAST_SCORE ? 0.0f : p * power;
}

/* What all that comes before ``token`` weighs together, and how many tokens that is: those of more
 * weight, and of its own weight those of a lower id. */
PASS void look_before(const float *restrict weights, int64_t width, int64_t token,
                      double *weight_before, int64_t *num_before)
{
    enum { LANES = 64 };
    float weight = weights[token];
    float sums[LANES] = {0};
    int32_t counts[LANES] = {0};
    int64_t start = 0;
    for (; start + LANES <= width; start += LANES)
        for (int64_t j = 0; j < LANES; j++) {
            float other = weights[start + j];
            sums[j] += other > weight ? other : 0.0f;
            counts[j] += other > weight;
        }
    for (int64_t j = 0; start + j < width; j++) {
        float other = weights[start + j];
        sums[j] += other > weight ? other : 0.0f;
        counts[j] += other > weight;
    }
    int32_t num_equal = 0;
    for (int64_t other = 0; other < token; other++)
        num_equal += weights[other] == weight;
    double total = (double)weight * num_equal;
    int64_t count = num_equal;
    for (int j = 0; j < LANES; j++) {
        total += sums[j];
        count += counts[j];
    }
    *weight_before = total;
    *num_before = count;
}

/* The largest logit of each group, -inf where there is none; whether all are below +inf. */
PASS int largest_of_groups(const float *restrict logits, int64_t width, float *restrict maxima)
{
    int32_t broken[NUM_GROUPS] = {0};
    for (int j = 0; j < NUM_GROUPS; j++)
        maxima[j] = -INFINITY;
    int64_t start = 0;
    for (; start + NUM_GROUPS <= width; start += NUM_GROUPS)
        for (int64_t j = 0; j < NUM_GROUPS; j++) {
            float logit = logits[start + j];
            maxima[j] = logit > maxima[j] ? logit : maxima[j];
            broken[j] |= !(logit < INFINITY);
        }
    for (int64_t j = 0; start + j < width; j++) {
        float logit = logits[start + j];
        maxima[j] = logit > maxima[j] ? logit : maxima[j];
        broken[j] |= !(logit < INFINITY);
    }
    int32_t any = 0;
    for (int j = 0; j < NUM_GROUPS; j++)
        any |= broken[j];
    return !any;
}

/* The largest logit of each group and of all. Returns 0 if that is not finite or a logit is no number. */
static inline int find_largest(const float *logits, int64_t width, float *maxima, float *largest)
{
    int finite = largest_of_groups(logits, width, maxima);
    *largest = maxima[0];
    for (int j = 1; j < NUM_GROUPS; j++)
        *largest = maxima[j] > *largest ? maxima[j] : *largest;
    return finite && *largest > -INFINITY;
}

#endif
