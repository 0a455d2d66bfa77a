#include "p256_ecdsa.h"

#include "p256_lanes.h"
#include "wipe.h"

#define LANES_OF_GROUP 8
#define MOST_GROUPS (ECDSA_MOST / LANES_OF_GROUP)
#define DIGIT_BITS 4
#define DIGITS (256 / DIGIT_BITS)

/* A number modulo p and one modulo n: work on both at a time waits for neither. */
struct both {
    struct wide p, n;
};

struct work {
    struct both number[MOST_GROUPS];  /* z and the nonce, then their inverses; in Montgomery's form */
    struct both product[MOST_GROUPS]; /* of all numbers up to this one */
    struct both power[1 << DIGIT_BITS];
    struct both inverse; /* of the numbers that are left */
};

static inline IFMA struct both times(struct both a, struct both b)
{
    return (struct both){mul(a.p, b.p), mul_n(a.n, b.n)};
}

static inline IFMA struct wide one(void)
{
    struct wide number = {{wide_set(1), wide_set(0), wide_set(0), wide_set(0), wide_set(0)}};
    return number;
}

static int digit(const uint64_t exponent[4], int place)
{
    return (int)(exponent[place * DIGIT_BITS / 64] >> (place * DIGIT_BITS % 64)) & ((1 << DIGIT_BITS) - 1);
}

/* 1 / a, as a^(p - 2) and a^(n - 2). */
static IFMA void invert(struct work *work, const struct both *a)
{
    static const uint64_t of_p[4] = {0xfffffffffffffffd, 0x00000000ffffffff, 0, 0xffffffff00000001};
    static const uint64_t of_n[4] = {0xf3b9cac2fc63254f, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000};
    struct both *power = work->power, found;
    power[0] = (struct both){wide_of(ONE_P), mul_n(one(), wide_of(INTO_N))};
    for (int i = 1; i < 1 << DIGIT_BITS; i++) {
        power[i] = times(power[i - 1], *a);
    }
    found = (struct both){power[digit(of_p, DIGITS - 1)].p, power[digit(of_n, DIGITS - 1)].n};
    for (int place = DIGITS - 2; place >= 0; place--) {
        for (int i = 0; i < DIGIT_BITS; i++) {
            found = times(found, found);
        }
        found = times(found, (struct both){power[digit(of_p, place)].p, power[digit(of_n, place)].n});
    }
    work->inverse = found;
}

/* A number below 2 n, of limbs below 2^52 but the last one, as one below n. */
static inline IFMA struct wide canonical_n(struct wide a)
{
    struct wide less = a;
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        less.limb[i] = _mm512_sub_epi64(less.limb[i], wide_set(ORDER_N[i]));
    }
    less = wide_carry(less);
    return wide_blend(_mm512_cmpge_epi64_mask(less.limb[4], _mm512_setzero_si512()), a, less);
}

/* The lanes in which a number, whose limbs are below 2^52, equals a small constant. */
static inline IFMA __mmask8 equals(struct wide a, uint64_t constant)
{
    __m512i differs = _mm512_xor_si512(a.limb[0], wide_set(constant));
    UNROLL
    for (int i = 1; i < LIMBS; i++) {
        differs = _mm512_or_si512(differs, a.limb[i]);
    }
    return _mm512_testn_epi64_mask(differs, differs);
}

/* The numbers at one place of eight lanes: `first` and the one after it. */
static inline IFMA void load(struct wide *first, struct wide *second, const p256_number *numbers)
{
    __m512i row[8];
    for (int lane = 0; lane < LANES_OF_GROUP; lane++) {
        row[lane] = _mm512_load_si512((const struct ecdsa_lane *)(const void *)numbers + lane);
    }
    transpose(row);
    *first = limbs_of(row);
    *second = limbs_of(row + 4);
}

/* Replaces each number by its inverse; returns the lanes in which that is right. */
static IFMA __mmask8 invert_all(struct work *work, size_t groups)
{
    struct both *number = work->number, *product = work->product;
    product[0] = number[0];
    for (size_t i = 1; i < groups; i++) {
        product[i] = times(product[i - 1], number[i]);
    }
    invert(work, product + groups - 1);
    const struct both check = times(product[groups - 1], work->inverse);
    const __mmask8 right = equals(canonical(mul(check.p, one())), 1) & equals(canonical_n(mul_n(check.n, one())), 1);
    for (size_t i = groups; i-- > 1;) {
        const struct both of_others = times(work->inverse, number[i]);
        number[i] = times(work->inverse, product[i - 1]);
        work->inverse = of_others;
    }
    number[0] = work->inverse;
    return right;
}

/* Makes the signatures of one group; returns the lanes in which neither r nor s is 0. */
static IFMA __mmask8 sign_group(struct ecdsa_lane *lanes, const struct both *inverse)
{
    struct wide x, z, nonce, digest, key, unused;
    load(&x, &z, &lanes->x);
    load(&nonce, &digest, &lanes->nonce);
    load(&key, &unused, &lanes->key);

    const struct wide r = canonical_n(canonical(mul(x, sqr(inverse->p)))); /* below p, so below 2 n */
    const struct wide of_key = mul_n(mul_n(r, wide_of(INTO_N)), key);
    const struct wide s = canonical_n(mul_n(wide_carry(add_loose(of_key, digest)), inverse->n));
    __m512i row[8];
    words_of(row, r);
    words_of(row + 4, s);
    transpose(row);
    for (int lane = 0; lane < LANES_OF_GROUP; lane++) {
        _mm512_store_si512(lanes + lane, row[lane]);
    }
    return (__mmask8)~(equals(r, 0) | equals(s, 0));
}

IFMA int p256_ecdsa(struct ecdsa_lane *lanes, size_t groups)
{
    struct work work;
    struct wide x, z, nonce, digest;
    __mmask8 right = 0xff;
    for (size_t i = 0; i < groups; i++) {
        load(&x, &z, &lanes[i * LANES_OF_GROUP].x);
        load(&nonce, &digest, &lanes[i * LANES_OF_GROUP].nonce);
        work.number[i] = (struct both){mul(z, wide_of(INTO_P)), mul_n(nonce, wide_of(INTO_N))};
    }
    if (groups > 0) {
        right &= invert_all(&work, groups);
    }
    for (size_t i = 0; i < groups; i++) {
        right &= sign_group(lanes + i * LANES_OF_GROUP, work.number + i);
    }
    wipe(&work, sizeof work);
    return right == 0xff;
}
