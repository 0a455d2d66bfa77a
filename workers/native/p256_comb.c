#include "p256_comb.h"

#include <string.h>

#include "bytes.h"
#include "p256_points.h"

#define CHAINS 4

/* The digits of a scalar, from the lowest, and what was carried. */
struct digits {
    struct wide scalar;
    __m512i carry;
};

/* Big-endian numbers, one from each of eight places `stride` bytes apart, as limbs. */
static IFMA struct wide load(const uint8_t *from, size_t stride, size_t used)
{
    uint64_t words[4][LANES_OF_COMB];
    for (size_t lane = 0; lane < LANES_OF_COMB; lane++) {
        const uint8_t *number = from + (lane < used ? lane : used - 1) * stride;
        for (int i = 0; i < 4; i++) {
            words[3 - i][lane] = load_be64(number + 8 * i);
        }
    }
    __m512i word[4];
    for (int i = 0; i < 4; i++) {
        word[i] = _mm512_loadu_si512(words[i]);
    }
    return limbs_of(word);
}

/* 1 / a modulo n, as a^(n - 2). */
static IFMA struct wide inverse_n(struct wide a)
{
    static const uint64_t exponent[4] = {0xf3b9cac2fc63254f, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000};
    struct wide power = a;
    for (int bit = 254; bit >= 0; bit--) {
        power = mul_n(power, power);
        if (exponent[bit / 64] >> (bit % 64) & 1) {
            power = mul_n(power, a);
        }
    }
    return power;
}

/* The next digit, from -63 to 64, as its amount; `negative` are the lanes in which it is below 0. */
static inline IFMA __m512i next_digit(struct digits *digits, int window, __mmask8 *negative)
{
    const int bit = window * WINDOW_BITS, limb = bit / LIMB_BITS, shift = bit % LIMB_BITS;
    __m512i digit = _mm512_srl_epi64(digits->scalar.limb[limb], _mm_cvtsi32_si128(shift));
    if (shift > LIMB_BITS - WINDOW_BITS && limb < LIMBS - 1) {
        digit = _mm512_or_si512(
            digit, _mm512_sll_epi64(digits->scalar.limb[limb + 1], _mm_cvtsi32_si128(LIMB_BITS - shift)));
    }
    digit = _mm512_add_epi64(_mm512_and_si512(digit, wide_set((1 << WINDOW_BITS) - 1)), digits->carry);
    *negative = _mm512_cmpgt_epi64_mask(digit, wide_set(MULTIPLES));
    digits->carry = _mm512_maskz_set1_epi64(*negative, 1);
    return _mm512_mask_sub_epi64(digit, *negative, wide_set(1 << WINDOW_BITS), digit);
}

/* Writes the multiples of a point that the digits of a scalar name, of group `at` of `point` and `empty`. */
static IFMA void write_multiples(struct comb_point (*point)[COMB_GROUPS], __mmask8 (*empty)[COMB_GROUPS], size_t at,
                                 const struct p256_table *table, struct wide scalar)
{
    const struct wide zero = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                               _mm512_setzero_si512(), _mm512_setzero_si512()}};
    struct digits digits = {scalar, _mm512_setzero_si512()};
    for (int window = 0; window < WINDOWS; window++) {
        __mmask8 negative;
        const __m512i digit = next_digit(&digits, window, &negative);
        uint64_t amount[LANES_OF_COMB];
        __m512i row[WORDS];
        _mm512_storeu_si512(amount, digit);
        UNROLL
        for (int lane = 0; lane < LANES_OF_COMB; lane++) {
            row[lane] = _mm512_load_si512(table->entry[window][(amount[lane] - 1) % MULTIPLES]);
        }
        transpose(row);
        const struct wide y = limbs_of(row + 4);
        point[window][at] = (struct comb_point){limbs_of(row), wide_blend(negative, y, sub(zero, y))};
        empty[window][at] = _mm512_testn_epi64_mask(digit, digit);
    }
}

/* What the difference of two points in x is divided by: 1 where one of them is none. */
static inline IFMA struct wide difference_of(const struct comb *comb, size_t group, int i)
{
    const __mmask8 alone = comb->empty[2 * i][group] | comb->empty[2 * i + 1][group];
    return wide_blend(alone, sub(comb->point[2 * i + 1][group].x, comb->point[2 * i][group].x), wide_of(ONE_P));
}

/* Puts the sum of two points into the place of pair i, by the inverse of their difference. */
static inline IFMA void write_sum(struct comb *comb, size_t group, int i, struct wide inverse)
{
    const struct comb_point *one = &comb->point[2 * i][group], *other = &comb->point[2 * i + 1][group];
    const __mmask8 no_one = comb->empty[2 * i][group], no_other = comb->empty[2 * i + 1][group];
    const struct wide slope = mul(sub(other->y, one->y), inverse);
    const struct wide x = fold(sub_loose(sub_loose(sqr(slope), one->x), other->x));
    const struct wide y = fold(sub_loose(mul(slope, sub(one->x, x)), one->y));
    const struct comb_point sum = {wide_blend(no_one, wide_blend(no_other, x, one->x), other->x),
                                   wide_blend(no_one, wide_blend(no_other, y, one->y), other->y)};
    comb->point[i][group] = sum;
    comb->empty[i][group] = no_one & no_other;
}

/* Inverts a number of each chain; one inversion serves all. Returns the lanes in which one of them is 0, and nothing was inverted. */
static IFMA __mmask8 invert_chains(struct wide chain[CHAINS])
{
    struct wide product[CHAINS] = {chain[0]};
    for (int i = 1; i < CHAINS; i++) {
        product[i] = mul(product[i - 1], chain[i]);
    }
    struct wide of_all = wide_inverse(product[CHAINS - 1]);
    for (int i = CHAINS - 1; i > 0; i--) {
        const struct wide of_others = mul(of_all, chain[i]);
        chain[i] = mul(of_all, product[i - 1]);
        of_all = of_others;
    }
    chain[0] = of_all;
    return is_zero(product[CHAINS - 1]);
}

/* Adds the points of each group in pairs. One inversion serves all of a lane: products of differences from the last one to the first, then
 * their inverses the other way. There are several chains of products, because each product waits for the one before. */
static IFMA void add_pairs(struct comb *comb, size_t groups, int pairs)
{
    struct wide chain[CHAINS];
    for (int i = 0; i < CHAINS; i++) {
        chain[i] = wide_of(ONE_P);
    }
    for (int i = pairs; i-- > 0;) {
        for (size_t group = groups; group-- > 0;) {
            struct wide *product = chain + group % CHAINS;
            comb->before[i][group] = *product;
            *product = mul(*product, difference_of(comb, group, i));
        }
    }
    comb->failed |= invert_chains(chain);
    for (int i = 0; i < pairs; i++) {
        for (size_t group = 0; group < groups; group++) {
            struct wide *left = chain + group % CHAINS;
            const struct wide inverse = mul(*left, comb->before[i][group]);
            *left = mul(*left, difference_of(comb, group, i));
            write_sum(comb, group, i, inverse);
        }
    }
}

/* Adds up the points of each group, so that the first one is their sum. */
static IFMA void add_points(struct comb *comb, size_t groups)
{
    for (int count = COMB_POINTS; count > 1; count = (count + 1) / 2) {
        add_pairs(comb, groups, count / 2);
        if (count % 2) { /* one without a partner moves up as it is */
            memcpy(comb->point[count / 2], comb->point[count - 1], groups * sizeof comb->point[0][0]);
            memcpy(comb->empty[count / 2], comb->empty[count - 1], groups);
        }
    }
}

/* Reads the numbers, and replaces each s by its inverse: one inversion serves all of a lane (Montgomery's trick). */
static IFMA void open_groups(struct comb_group *group, const struct numbers *numbers, size_t groups, size_t count)
{
    for (size_t i = 0; i < groups; i++) {
        const struct numbers *first = numbers + i * LANES_OF_COMB;
        const size_t used = count - i * LANES_OF_COMB;
        group[i].of_digest = load(first->digest, sizeof *first, used);
        group[i].of_r = load(first->r, sizeof *first, used);
        group[i].s = mul_n(load(first->s, sizeof *first, used), wide_of(INTO_N));
        group[i].product = i == 0 ? group[i].s : mul_n(group[i - 1].product, group[i].s);
    }
    struct wide of_all = inverse_n(group[groups - 1].product);
    for (size_t i = groups; i-- > 1;) {
        const struct wide of_others = mul_n(of_all, group[i].s);
        group[i].s = mul_n(of_all, group[i - 1].product);
        of_all = of_others;
    }
    group[0].s = of_all;
}

IFMA void p256_comb_verify(struct comb *comb, uint8_t *answers, const struct numbers *numbers, size_t count)
{
    const size_t groups = (count + LANES_OF_COMB - 1) / LANES_OF_COMB;
    open_groups(comb->group, numbers, groups, count);
    for (size_t i = 0; i < groups; i++) {
        const struct comb_group *group = comb->group + i;
        write_multiples(comb->point, comb->empty, i, comb->of_generator, mul_n(group->of_digest, group->s));
        write_multiples(comb->point + WINDOWS, comb->empty + WINDOWS, i, comb->of_key, mul_n(group->of_r, group->s));
    }
    comb->failed = 0;
    add_points(comb, groups);
    for (size_t i = 0; i < groups; i++) {
        const struct wide r = mul(comb->group[i].of_r, wide_of(INTO_P));
        const __mmask8 valid = is_zero(fold(sub_loose(comb->point[0][i].x, r))) & (__mmask8) ~(comb->empty[0][i] | comb->failed);
        for (size_t lane = 0; lane < LANES_OF_COMB && i * LANES_OF_COMB + lane < count; lane++) {
            answers[i * LANES_OF_COMB + lane] = valid >> lane & 1;
        }
    }
}
