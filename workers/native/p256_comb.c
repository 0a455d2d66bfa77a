#include "p256_comb.h"

#include "bytes.h"
#include "p256_points.h"

#define LANES_OF_COMB 8
#define MOST_GROUPS (COMB_MOST / LANES_OF_COMB)

struct group {
    struct wide s, of_digest, of_r; /* the last two are plain */
    struct wide product;
};

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

/* Adds the multiples that a digit of each lane names; `empty` are the lanes in which nothing was added yet. */
static inline IFMA void add_multiple(struct wide_point *sum, __mmask8 *empty, const struct p256_table *table, int window,
                                     struct digits *digits)
{
    __mmask8 negative;
    const __m512i digit = next_digit(digits, window, &negative);
    const __mmask8 some = _mm512_test_epi64_mask(digit, digit);
    uint64_t amount[LANES_OF_COMB];
    _mm512_storeu_si512(amount, digit);

    __m512i row[WORDS];
    for (int lane = 0; lane < LANES_OF_COMB; lane++) {
        row[lane] = _mm512_load_si512(table->entry[window][(amount[lane] - 1) % MULTIPLES]);
    }
    transpose(row);
    const struct wide x = limbs_of(row);
    struct wide y = limbs_of(row + 4);
    const struct wide zero = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                               _mm512_setzero_si512(), _mm512_setzero_si512()}};
    y = wide_blend(negative, y, sub(zero, y));

    const struct wide_point next = point_add(*sum, x, y);
    const __mmask8 added = some & (__mmask8)~*empty, first = some & *empty;
    sum->x = wide_blend(first, wide_blend(added, sum->x, next.x), x);
    sum->y = wide_blend(first, wide_blend(added, sum->y, next.y), y);
    sum->z = wide_blend(first, wide_blend(added, sum->z, next.z), wide_of(ONE_P));
    *empty &= (__mmask8)~some;
}

/* The lanes in which x of u1 G + u2 Q is r. */
static IFMA __mmask8 is_valid(const struct p256_table *of_generator, const struct p256_table *of_key, struct wide u1,
                              struct wide u2, struct wide r)
{
    struct digits one = {u1, _mm512_setzero_si512()}, other = {u2, _mm512_setzero_si512()};
    struct wide_point sum = {wide_of(ONE_P), wide_of(ONE_P), wide_of(ONE_P)};
    __mmask8 empty = 0xff;
    for (int window = 0; window < WINDOWS; window++) {
        add_multiple(&sum, &empty, of_generator, window, &one);
        add_multiple(&sum, &empty, of_key, window, &other);
    }
    /* X = r Z^2 */
    const struct wide expected = mul(mul(r, wide_of(INTO_P)), sqr(sum.z));
    const __mmask8 equal = is_zero(fold(sub_loose(sum.x, expected)));
    return equal & (__mmask8)~is_zero(sum.z) & (__mmask8)~empty;
}

/* Reads the numbers, and replaces each s by its inverse: one inversion serves all of a lane (Montgomery's trick). */
static IFMA void open_groups(struct group *group, const struct numbers *numbers, size_t groups, size_t count)
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

IFMA void p256_comb_verify(uint8_t *answers, const struct p256_table *of_generator, const struct p256_table *of_key,
                           const struct numbers *numbers, size_t count)
{
    struct group group[MOST_GROUPS];
    const size_t groups = (count + LANES_OF_COMB - 1) / LANES_OF_COMB;
    open_groups(group, numbers, groups, count);
    for (size_t i = 0; i < groups; i++) {
        const struct wide u1 = mul_n(group[i].of_digest, group[i].s), u2 = mul_n(group[i].of_r, group[i].s);
        const __mmask8 valid = is_valid(of_generator, of_key, u1, u2, group[i].of_r);
        for (size_t lane = 0; lane < LANES_OF_COMB && i * LANES_OF_COMB + lane < count; lane++) {
            answers[i * LANES_OF_COMB + lane] = valid >> lane & 1;
        }
    }
}
