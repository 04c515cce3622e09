/* From rows of logits to scores: model/scoring.py. */

#include "likeliest.h"
#include "passes.h"

/* The sum of the weights exp(logit - largest), and of weight times (logit - largest). */
PASS void add_up(const float *restrict logits, int64_t width, float largest, double *sum,
                 double *weighted)
{
    enum { LANES = 64 };
    float sums[LANES] = {0};
    float products[LANES] = {0};
    int64_t start = 0;
    for (; start + LANES <= width; start += LANES)
        for (int64_t j = 0; j < LANES; j++) {
            float score = logits[start + j] - largest;
            float weight = weight_of(score);
            sums[j] += weight;
            products[j] += weight * (score > LEAST_SCORE ? score : LEAST_SCORE);
        }
    for (int64_t j = 0; start + j < width; j++) {
        float score = logits[start + j] - largest;
        float weight = weight_of(score);
        sums[j] += weight;
        products[j] += weight * (score > LEAST_SCORE ? score : LEAST_SCORE);
    }
    double all = 0;
    double all_products = 0;
    for (int j = 0; j < LANES; j++) {
        all += sums[j];
        all_products += products[j];
    }
    *sum = all;
    *weighted = all_products;
}

/* For each row of ``logits`` [num_rows, width] log(sum(exp(logits))) and the entropy, in nats; NaN for
 * one whose logits are not finite. */
void foretoken_normalise(const float *logits, int64_t num_rows, int64_t width, double *normalisers,
                         double *entropies)
{
    for (int64_t i = 0; i < num_rows; i++, logits += width) {
        float maxima[NUM_GROUPS];
        float largest;
        normalisers[i] = entropies[i] = NAN;
        if (!find_largest(logits, width, maxima, &largest))
            continue;
        double sum, weighted;
        add_up(logits, width, largest, &sum, &weighted);
        normalisers[i] = largest + log(sum);
        entropies[i] = log(sum) - weighted / sum;
    }
}

/* For each row of ``logits`` [num_rows, width] the place of one token in descending order, from 1;
 * of equal logits the lower id comes first. */
void foretoken_rank(const float *logits, int64_t num_rows, int64_t width, const int32_t *tokens,
                    int32_t *ranks)
{
    for (int64_t i = 0; i < num_rows; i++, logits += width) {
        double weight_before;
        int64_t num_before;
        look_before(logits, width, tokens[i], &weight_before, &num_before);
        ranks[i] = (int32_t)(num_before + 1);
    }
}

/* For each row of ``logits`` [num_rows, width] the ``num_top`` likeliest tokens [num_rows, num_top] in
 * descending order, ties to the lowest id; up to NUM_GROUPS and width. Where the first of a row is
 * UNDECIDED, NumPy has to look. */
void foretoken_top(const float *logits, int64_t num_rows, int64_t width, int64_t num_top, int32_t *top)
{
    for (int64_t i = 0; i < num_rows; i++, logits += width, top += num_top) {
        float maxima[NUM_GROUPS];
        uint64_t keys[MOST_CANDIDATES];
        int64_t count = -1;
        if (largest_of_groups(logits, width, maxima))
            count = candidates_from(logits, width, kth_largest(maxima, (int32_t)num_top), keys);
        if (count < num_top)
            top[0] = UNDECIDED;
        else
            rank(keys, count, num_top, top);
    }
}
