/* From rows of logits to tokens: the frequent ways of model/sampling, in one or two passes. */

#include "likeliest.h"
#include "passes.h"

/* model.sampling.sampler: where the sum of all weights is within these bounds, it is as exact as if
 * the largest logit had been subtracted first. */
#define LEAST_TOTAL 1e-12
#define MOST_TOTAL 1e17

/* Vocabularies of more blocks of NUM_GROUPS tokens are left to NumPy where blocks are counted. */
#define MOST_BLOCKS 2048

/* Tokens that are never drawn, at most. */
#define MOST_NEVER 16

/* Draws that are rejected so often are left to NumPy: model.sampling.nucleus. */
#define MAX_REJECTED 3

/* Just below 1. */
#define BELOW_ONE (1.0 - 0x1p-53)

/* How a row is drawn, the same numbers as in library.py; by no other way here. */
enum { GREEDY = 1, TOP_K = 2, NUCLEUS = 3, LIKELY = 4 };

struct row {
    int32_t way;
    int32_t top_k;
    float inverse_temperature;
    float min_p;
    double top_p;
};

/* Fills in the weights exp((logit - shift) * inverse) and their sum in each group. */
PASS void weigh(const float *restrict logits, int64_t width, float shift, float inverse,
           float *restrict weights, float *restrict sums)
{
    memset(sums, 0, NUM_GROUPS * sizeof *sums);
    int64_t start = 0;
    for (; start + NUM_GROUPS <= width; start += NUM_GROUPS)
        for (int64_t j = 0; j < NUM_GROUPS; j++) {
            float weight = weight_of((logits[start + j] - shift) * inverse);
            weights[start + j] = weight;
            sums[j] += weight;
        }
    for (int64_t j = 0; start + j < width; j++) {
        float weight = weight_of((logits[start + j] - shift) * inverse);
        weights[start + j] = weight;
        sums[j] += weight;
    }
}

/* SplitMix64's finaliser; model.sampling.random_numbers.next_uniform. */
static double next_uniform(double draw)
{
    uint64_t value = (uint64_t)(draw * 0x1p53) ^ 0xD6E8FEB86659FD93u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return (double)((value ^ (value >> 31)) >> 11) * 0x1p-53;
}

static double below(double draw, double total)
{
    double target = draw * total;
    return target < total * BELOW_ONE ? target : total * BELOW_ONE;
}

/* Where a draw falls when the weights are laid end to end, group after group. */
static int64_t fall(const float *weights, int64_t width, const double *ends, double draw)
{
    double target = below(draw, ends[NUM_GROUPS - 1]);
    int64_t group = 0;
    while (group < NUM_GROUPS - 1 && ends[group] <= target)
        group++;
    double start = group ? ends[group - 1] : 0.0;
    double total = 0;
    for (int64_t token = group; token < width; token += NUM_GROUPS)
        total += weights[token];
    /* The group's own sum is more exact than its length among the others. */
    double rest = (target - start) * (total / (ends[group] - start));
    rest = rest < total * BELOW_ONE ? rest : total * BELOW_ONE;
    double end = 0;
    int64_t fallen = group;
    for (int64_t token = group; token < width; token += NUM_GROUPS) {
        end += weights[token];
        if (end > rest) {
            fallen = token;
            break;
        }
    }
    return fallen;
}

/* Whether what is likelier than ``token`` weighs less than top_p of everything. Of tokens of the
 * same weight the lowest id is the likeliest; the likeliest of all is always in. */
static int is_in_nucleus(const float *weights, int64_t width, int64_t token, double total,
                         double top_p)
{
    if (weights[token] > (1.0 - top_p) * total)
        return 1;
    double weight_before;
    int64_t num_before;
    look_before(weights, width, token, &weight_before, &num_before);
    return num_before == 0 || weight_before < top_p * total;
}

static int32_t draw_nucleus(const float *logits, int64_t width, const struct row *row, double draw,
                            float *weights)
{
    float sums[NUM_GROUPS];
    double ends[NUM_GROUPS];
    float shift = 0.0f;
    for (int shifted = 0;; shifted = 1) {
        weigh(logits, width, shift, row->inverse_temperature, weights, sums);
        double total = 0;
        for (int j = 0; j < NUM_GROUPS; j++)
            ends[j] = total += sums[j];
        if (shifted || (total >= LEAST_TOTAL && total <= MOST_TOTAL))
            break;
        float maxima[NUM_GROUPS];
        if (!find_largest(logits, width, maxima, &shift))
            return NO_TOKEN;
    }
    for (int tried = 0; tried < MAX_REJECTED; tried++) {
        int64_t token = fall(weights, width, ends, draw);
        if (row->top_p >= 1.0 ||
            is_in_nucleus(weights, width, token, ends[NUM_GROUPS - 1], row->top_p))
            return (int32_t)token;
        draw = next_uniform(draw);
    }
    return UNDECIDED;
}

static int32_t draw_top_k(const float *logits, int64_t width, const struct row *row, double draw)
{
    float maxima[NUM_GROUPS];
    float largest;
    if (!find_largest(logits, width, maxima, &largest))
        return NO_TOKEN;
    uint64_t keys[MOST_CANDIDATES];
    int64_t count = candidates_from(logits, width, kth_largest(maxima, row->top_k), keys);
    if (count < 0)
        return UNDECIDED;
    int32_t tokens[NUM_GROUPS];
    rank(keys, count, row->top_k, tokens);
    if (count > row->top_k)
        count = row->top_k;
    float weights[NUM_GROUPS];
    double ends[NUM_GROUPS];
    double total = 0;
    for (int64_t i = 0; i < count; i++) {
        weights[i] = weight_of((logits[tokens[i]] - largest) * row->inverse_temperature);
        ends[i] = total += weights[i];
    }
    int64_t num_kept = 1;
    while (num_kept < count && ends[num_kept - 1] < row->top_p * total)
        num_kept++;
    while (num_kept > 1 && weights[num_kept - 1] < row->min_p * weights[0])
        num_kept--;
    double target = below(draw, ends[num_kept - 1]);
    int64_t place = 0;
    while (ends[place] <= target)
        place++;
    return tokens[place];
}

/* Sets weights below ``least`` to 0; fills in the sums of blocks of NUM_GROUPS that lie together. */
PASS void keep_from(float *restrict weights, int64_t width, float least, double *restrict sums)
{
    enum { LANES = 16 };
    for (int64_t start = 0; start < width; start += NUM_GROUPS) {
        int64_t end = start + NUM_GROUPS < width ? start + NUM_GROUPS : width;
        float lanes[LANES] = {0};
        int64_t token = start;
        for (; token + LANES <= end; token += LANES)
            for (int64_t j = 0; j < LANES; j++) {
                float weight = weights[token + j];
                weight = weight < least ? 0.0f : weight;
                weights[token + j] = weight;
                lanes[j] += weight;
            }
        double sum = 0;
        for (; token < end; token++) {
            weights[token] = weights[token] < least ? 0.0f : weights[token];
            sum += weights[token];
        }
        for (int j = 0; j < LANES; j++)
            sum += lanes[j];
        *sums++ = sum;
    }
}

/* From what min_p leaves, laid end to end in the order of ids. */
static int32_t draw_likely(const float *logits, int64_t width, const struct row *row, double draw,
                           float *weights)
{
    float maxima[NUM_GROUPS];
    float sums[NUM_GROUPS];
    double blocks[MOST_BLOCKS];
    int64_t num_blocks = (width + NUM_GROUPS - 1) / NUM_GROUPS;
    float largest;
    if (!find_largest(logits, width, maxima, &largest))
        return NO_TOKEN;
    if (num_blocks > MOST_BLOCKS)
        return UNDECIDED;
    weigh(logits, width, largest, row->inverse_temperature, weights, sums);
    keep_from(weights, width, row->min_p, blocks);
    double total = 0;
    for (int64_t i = 0; i < num_blocks; i++)
        total += blocks[i];
    double target = below(draw, total);
    double end = 0;
    int64_t block = 0;
    while (block < num_blocks - 1 && end + blocks[block] <= target)
        end += blocks[block++];
    int64_t last = -1;
    for (int64_t token = block * NUM_GROUPS; token < width; token++) {
        if (weights[token] == 0.0f)
            continue;
        last = token;
        end += weights[token];
        if (end > target)
            break;
    }
    /* Rounded the other way, the target may lie behind the very last. */
    for (int64_t token = width - 1; last < 0; token--)
        if (weights[token] > 0.0f)
            last = token;
    return (int32_t)last;
}

static int32_t take_likeliest(const float *logits, int64_t width)
{
    float maxima[NUM_GROUPS];
    float largest;
    if (!find_largest(logits, width, maxima, &largest))
        return NO_TOKEN;
    int64_t likeliest = width;
    for (int64_t group = 0; group < NUM_GROUPS; group++) {
        int64_t token = group;
        if (maxima[group] == largest) {
            while (logits[token] != largest)
                token += NUM_GROUPS;
            if (token < likeliest)
                likeliest = token;
        }
    }
    return (int32_t)likeliest;
}

static int32_t draw_row(const float *logits, int64_t width, const struct row *row, double draw,
                        float *weights)
{
    switch (row->way) {
    case GREEDY:
        return take_likeliest(logits, width);
    case TOP_K:
        return draw_top_k(logits, width, row, draw);
    case LIKELY:
        return draw_likely(logits, width, row, draw, weights);
    case NUCLEUS:
        return draw_nucleus(logits, width, row, draw, weights);
    default:
        return UNDECIDED;
    }
}

/* Draws a token for each row of ``logits`` [num_rows, width], which are as they were afterwards.
 *
 * rows: how each is drawn; top_k from 1 to NUM_GROUPS where that is the way.
 * draws: for each, uniform in [0, 1); not looked at where the likeliest is taken.
 * never: [num_never] tokens that count as impossible, MOST_NEVER at most, each once.
 * weights: [width], to work in.
 * tokens: for each row the token drawn; NO_TOKEN where logits are not finite or none is possible;
 *     UNDECIDED where NumPy has to draw.
 */
void foretoken_draw(float *logits, int64_t num_rows, int64_t width, const struct row *rows,
                    const double *draws, const int64_t *never, int64_t num_never, float *weights,
                    int32_t *tokens)
{
    float hidden[MOST_NEVER];
    for (int64_t i = 0; i < num_rows; i++, logits += width) {
        for (int64_t j = 0; j < num_never; j++) {
            hidden[j] = logits[never[j]];
            logits[never[j]] = -INFINITY;
        }
        tokens[i] = draw_row(logits, width, &rows[i], draws[i], weights);
        for (int64_t j = 0; j < num_never; j++)
            logits[never[j]] = hidden[j];
    }
}
