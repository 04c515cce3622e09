/* Draws tokens from rows of logits, and scores them, in few passes over the vocabulary.
 *
 * The same definitions, order of tokens and random numbers as model/sampling and model/scoring.py have
 * in NumPy, which needs a pass through memory for every operation. Sums are rounded otherwise than
 * there, so a draw that falls within some 1e-6 of the border between two tokens may fall on the other
 * side of it.
 *
 * What a row gives does not depend on the rows beside it. No memory is taken, nothing is kept.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "candidates_from reads bytes in little-endian order; NumPy takes its place"
#endif

/* The passes are compiled for several generations of processors; the loader picks one. Within another
 * function a compiler may fail to see that what they write does not overlap with what they read. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define PASS \
    __attribute__((noinline, target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4"))) static
#elif defined(__GNUC__)
#define PASS __attribute__((noinline)) static
#else
#define PASS static
#endif

/* Tokens j, j + 128, ... are group j: model.sampling.ranking.NUM_GROUPS. */
#define NUM_GROUPS 128

/* More candidates than this for top_k, as of a row with many ties, are left to NumPy. */
#define MOST_CANDIDATES 512

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

/* Between these exp is a normal float32 number. */
#define LEAST_SCORE -87.0f
#define MOST_SCORE 88.0f

enum { NO_TOKEN = -1, UNDECIDED = -2 };

/* How a row is drawn, the same numbers as in library.py; by no other way here. */
enum { GREEDY = 1, TOP_K = 2, NUCLEUS = 3, LIKELY = 4 };

struct row {
    int32_t way;
    int32_t top_k;
    float inverse_temperature;
    float min_p;
    double top_p;
};

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

/* A number that ascends with the logit; the same for 0 and -0. */
static uint32_t key_of(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float logit_of(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    float logit;
    memcpy(&logit, &bits, sizeof logit);
    return logit;
}

static float largest_of(const float *maxima)
{
    float largest = maxima[0];
    for (int j = 1; j < NUM_GROUPS; j++)
        largest = maxima[j] > largest ? maxima[j] : largest;
    return largest;
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
        int finite = largest_of_groups(logits, width, maxima);
        shift = largest_of(maxima);
        if (!finite || shift == -INFINITY)
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

static int32_t draw_top_k(const float *logits, int64_t width, const struct row *row, double draw)
{
    float maxima[NUM_GROUPS];
    int finite = largest_of_groups(logits, width, maxima);
    float largest = largest_of(maxima);
    if (!finite || largest == -INFINITY)
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

/* From what min_p leaves, laid end to end in the order of ids. */
static int32_t draw_likely(const float *logits, int64_t width, const struct row *row, double draw,
                           float *weights)
{
    float maxima[NUM_GROUPS];
    float sums[NUM_GROUPS];
    double blocks[MOST_BLOCKS];
    int64_t num_blocks = (width + NUM_GROUPS - 1) / NUM_GROUPS;
    int finite = largest_of_groups(logits, width, maxima);
    float largest = largest_of(maxima);
    if (!finite || largest == -INFINITY)
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
    int finite = largest_of_groups(logits, width, maxima);
    float largest = largest_of(maxima);
    if (!finite || largest == -INFINITY)
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
        int finite = largest_of_groups(logits, width, maxima);
        float largest = largest_of(maxima);
        normalisers[i] = entropies[i] = NAN;
        if (!finite || largest == -INFINITY)
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
