/* Arithmetic of P-256 on eight numbers at a time, with AVX-512 IFMA. No branch and no address depends on a number. Who has secrets wipes them.
 *
 * A number has five limbs of 52 bits, the lowest first; limb i of all eight lanes is one vector. Numbers are in Montgomery's form, with the
 * factor 2^260, unless they are called plain. "Small" means below 2 p, or 2 n. Limbs are below 2^52 unless a
 * function is called loose.
 */
#ifndef VS_P256_LANES_H
#define VS_P256_LANES_H

#include <immintrin.h>
#include <stdint.h>

#define IFMA __attribute__((target("avx512f,avx512ifma")))
#define UNROLL _Pragma("GCC unroll 8") /* else numbers do not stay in registers */
#define LIMBS 5
#define LIMB_BITS 52
#define WORDS 8 /* of an affine point: four of x, the lowest first, and four of y */

struct wide {
    __m512i limb[LIMBS];
};

static const uint64_t FIELD_P[LIMBS] = {0xfffffffffffff, 0x00fffffffffff, 0, 0x0001000000000, 0x0ffffffff0000};
static const uint64_t ORDER_N[LIMBS] = {0x9cac2fc632551, 0xada7179e84f3b, 0xfffffffbce6fa, 0x0000fffffffff, 0x0ffffffff0000};
/* 2^520 modulo p and n: a number times this is in Montgomery's form. */
static const uint64_t INTO_P[LIMBS] = {0x0000000000300, 0xffffffff00000, 0xffffefffffffb, 0xfdfffffffffff, 0x0000004ffffff};
static const uint64_t INTO_N[LIMBS] = {0x5cc0dea6dc3ba, 0x192a067d8a084, 0xbec59615571bb, 0x1fc245b2392b6, 0x0e12d9559d956};
/* 2^260 modulo p: one. */
static const uint64_t ONE_P[LIMBS] = {0x0000000000010, 0xf000000000000, 0xfffffffffffff, 0xffeffffffffff, 0x00000000fffff};
static const uint64_t MINUS_INVERSE_OF_N = 0x1c8aaee00bc4f; /* modulo 2^52 */

static inline IFMA __m512i wide_set(uint64_t word)
{
    return _mm512_set1_epi64((long long)word);
}

/* The same number in all lanes. */
static inline IFMA struct wide wide_of(const uint64_t limbs[LIMBS])
{
    struct wide all;
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        all.limb[i] = wide_set(limbs[i]);
    }
    return all;
}

/* Brings limbs, which may be negative or too large, below 2^52; the last one takes what is left. The number itself is not negative. */
static inline IFMA struct wide wide_carry(struct wide a)
{
    const __m512i mask = wide_set((1ULL << LIMB_BITS) - 1);
    UNROLL
    for (int i = 0; i < LIMBS - 1; i++) {
        a.limb[i + 1] = _mm512_add_epi64(a.limb[i + 1], _mm512_srai_epi64(a.limb[i], LIMB_BITS));
        a.limb[i] = _mm512_and_si512(a.limb[i], mask);
    }
    return a;
}

/* A product of Montgomery modulo p: a b / 2^260, small. It needs a b < 16 p^2, so that two factors below 4 p are allowed. */
static inline IFMA struct wide mul(struct wide a, struct wide b)
{
    const __m512i mask = wide_set((1ULL << LIMB_BITS) - 1), zero = _mm512_setzero_si512();
    const __m512i p1 = wide_set(FIELD_P[1]), p3 = wide_set(FIELD_P[3]), p4 = wide_set(FIELD_P[4]);
    struct wide sum = {{zero, zero, zero, zero, zero}};
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        const __m512i factor = b.limb[i];
        __m512i high = zero;
        UNROLL
        for (int j = 0; j < LIMBS; j++) {
            sum.limb[j] = _mm512_madd52lo_epu64(sum.limb[j], a.limb[j], factor);
        }
        /* p is -1 modulo 2^52: the lowest limb m, times p, makes it 0. m times the lowest limb of p is m 2^52 - m; limb 2 of p is 0. */
        const __m512i m = _mm512_and_si512(sum.limb[0], mask);
        sum.limb[1] = _mm512_add_epi64(sum.limb[1], _mm512_add_epi64(_mm512_srli_epi64(sum.limb[0], LIMB_BITS), m));
        sum.limb[0] = _mm512_madd52lo_epu64(_mm512_madd52hi_epu64(sum.limb[1], a.limb[0], factor), m, p1);
        sum.limb[1] = _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(sum.limb[2], a.limb[1], factor), m, p1);
        sum.limb[2] = _mm512_madd52lo_epu64(_mm512_madd52hi_epu64(sum.limb[3], a.limb[2], factor), m, p3);
        sum.limb[3] = _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(sum.limb[4], a.limb[3], factor), m, p3);
        sum.limb[3] = _mm512_madd52lo_epu64(sum.limb[3], m, p4);
        high = _mm512_madd52hi_epu64(high, a.limb[4], factor);
        sum.limb[4] = _mm512_madd52hi_epu64(high, m, p4);
    }
    return wide_carry(sum);
}

static inline IFMA struct wide sqr(struct wide a)
{
    return mul(a, a);
}

/* A product of Montgomery modulo n, otherwise like `mul`. */
static inline IFMA struct wide mul_n(struct wide a, struct wide b)
{
    const __m512i inverse = wide_set(MINUS_INVERSE_OF_N), zero = _mm512_setzero_si512();
    const struct wide n = wide_of(ORDER_N);
    struct wide sum = {{zero, zero, zero, zero, zero}};
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        const __m512i factor = b.limb[i];
        sum.limb[0] = _mm512_madd52lo_epu64(sum.limb[0], a.limb[0], factor);
        const __m512i m = _mm512_madd52lo_epu64(zero, sum.limb[0], inverse);
        __m512i low = _mm512_srli_epi64(_mm512_madd52lo_epu64(sum.limb[0], m, n.limb[0]), LIMB_BITS);
        UNROLL
        for (int j = 0; j < LIMBS; j++) {
            __m512i next = j < LIMBS - 1 ? sum.limb[j + 1] : zero;
            if (j < LIMBS - 1) {
                next = _mm512_madd52lo_epu64(next, a.limb[j + 1], factor);
                next = _mm512_madd52lo_epu64(next, m, n.limb[j + 1]);
            }
            next = _mm512_madd52hi_epu64(next, a.limb[j], factor);
            next = _mm512_madd52hi_epu64(next, m, n.limb[j]);
            sum.limb[j] = j == 0 ? _mm512_add_epi64(next, low) : next;
        }
    }
    return wide_carry(sum);
}

/* A number below 16 p, of limbs that may be negative or too large, as a small one: 2^256 is 2^224 - 2^192 - 2^96 + 1 modulo p. */
static inline IFMA struct wide fold(struct wide a)
{
    a = wide_carry(a);
    const __m512i over = _mm512_srli_epi64(a.limb[4], 48);
    a.limb[4] = _mm512_and_si512(a.limb[4], wide_set((1ULL << 48) - 1));
    a.limb[0] = _mm512_add_epi64(a.limb[0], over);
    a.limb[1] = _mm512_sub_epi64(a.limb[1], _mm512_slli_epi64(over, 96 - 52));
    a.limb[3] = _mm512_sub_epi64(a.limb[3], _mm512_slli_epi64(over, 192 - 156));
    a.limb[4] = _mm512_add_epi64(a.limb[4], _mm512_slli_epi64(over, 224 - 208));
    return wide_carry(a);
}

/* a - b + 2 p without carries, for a small b. */
static inline IFMA struct wide sub_loose(struct wide a, struct wide b)
{
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        a.limb[i] = _mm512_add_epi64(a.limb[i], _mm512_sub_epi64(wide_set(2 * FIELD_P[i]), b.limb[i]));
    }
    return a;
}

static inline IFMA struct wide add_loose(struct wide a, struct wide b)
{
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        a.limb[i] = _mm512_add_epi64(a.limb[i], b.limb[i]);
    }
    return a;
}

/* a - b, below 4 p, for small a and b. */
static inline IFMA struct wide sub(struct wide a, struct wide b)
{
    return wide_carry(sub_loose(a, b));
}

static inline IFMA struct wide wide_blend(__mmask8 lanes, struct wide otherwise, struct wide chosen)
{
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        otherwise.limb[i] = _mm512_mask_mov_epi64(otherwise.limb[i], lanes, chosen.limb[i]);
    }
    return otherwise;
}

/* The lanes in which a small number is 0 modulo p: it is 0 or p. */
static inline IFMA __mmask8 is_zero(struct wide a)
{
    __mmask8 zero = 0xff, p = 0xff;
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        zero &= _mm512_cmpeq_epi64_mask(a.limb[i], _mm512_setzero_si512());
        p &= _mm512_cmpeq_epi64_mask(a.limb[i], wide_set(FIELD_P[i]));
    }
    return zero | p;
}

/* A small number as one below p. */
static inline IFMA struct wide canonical(struct wide a)
{
    struct wide less = a;
    UNROLL
    for (int i = 0; i < LIMBS; i++) {
        less.limb[i] = _mm512_sub_epi64(less.limb[i], wide_set(FIELD_P[i]));
    }
    less = wide_carry(less);
    return wide_blend(_mm512_cmpge_epi64_mask(less.limb[4], _mm512_setzero_si512()), a, less);
}

/* Turns word i of lane j into word j of lane i, of eight vectors. */
static inline IFMA void transpose(__m512i row[8])
{
    __m512i pair[8], quad[8];
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm512_unpacklo_epi64(row[i], row[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi64(row[i], row[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            quad[i + j] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0x88);
            quad[i + j + 2] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0xdd);
        }
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        row[j] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0x88);
        row[j + 4] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0xdd);
    }
}

/* Four words of 64 bits, the lowest first, as limbs. */
static inline IFMA struct wide limbs_of(const __m512i word[4])
{
    const __m512i mask = wide_set((1ULL << LIMB_BITS) - 1);
    struct wide a = {{
        _mm512_and_si512(word[0], mask),
        _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(word[0], 52), _mm512_slli_epi64(word[1], 12)), mask),
        _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(word[1], 40), _mm512_slli_epi64(word[2], 24)), mask),
        _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(word[2], 28), _mm512_slli_epi64(word[3], 36)), mask),
        _mm512_srli_epi64(word[3], 16),
    }};
    return a;
}

/* A number below 2^256 as four words of 64 bits. */
static inline IFMA void words_of(__m512i word[4], struct wide a)
{
    word[0] = _mm512_or_si512(a.limb[0], _mm512_slli_epi64(a.limb[1], 52));
    word[1] = _mm512_or_si512(_mm512_srli_epi64(a.limb[1], 12), _mm512_slli_epi64(a.limb[2], 40));
    word[2] = _mm512_or_si512(_mm512_srli_epi64(a.limb[2], 24), _mm512_slli_epi64(a.limb[3], 28));
    word[3] = _mm512_or_si512(_mm512_srli_epi64(a.limb[3], 36), _mm512_slli_epi64(a.limb[4], 16));
}

#endif
