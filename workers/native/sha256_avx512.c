/* The compression of SHA-256, of sixteen texts at a time. Only called where the processor has AVX-512: see sha256_lanes_setup. */
#include <immintrin.h>

#include "sha256_lanes.h"

#define WIDE __attribute__((target("avx512f,avx512bw")))
#define INLINE WIDE static inline __attribute__((always_inline))

/* Of three words, bit by bit: the sum modulo 2, the choice by the first one, the majority. */
enum { XOR3 = 0x96, CHOICE = 0xca, MAJORITY = 0xe8 };

INLINE __m512i sum3(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi32(a, b, c, XOR3);
}

/* Reads a block of each lane, so that w[i] has word i of every lane: a matrix of 16 times 16 words, transposed. */
INLINE void load_words(__m512i w[16], const uint8_t *const blocks[HASH_LANES])
{
    const __m512i big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        a[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(blocks[i]), big_endian);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* pairs of rows: words next to each other */
        b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* a[4 i + k]: word k of each quarter, of rows 4 i to 4 i + 3 */
        a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
        a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
        a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
        a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) { /* quarters 0 and 2, then 1 and 3, of all rows */
        __m512i low02 = _mm512_shuffle_i32x4(a[k], a[4 + k], 0x88), low13 = _mm512_shuffle_i32x4(a[k], a[4 + k], 0xdd);
        __m512i high02 = _mm512_shuffle_i32x4(a[8 + k], a[12 + k], 0x88);
        __m512i high13 = _mm512_shuffle_i32x4(a[8 + k], a[12 + k], 0xdd);
        w[k] = _mm512_shuffle_i32x4(low02, high02, 0x88);
        w[8 + k] = _mm512_shuffle_i32x4(low02, high02, 0xdd);
        w[4 + k] = _mm512_shuffle_i32x4(low13, high13, 0x88);
        w[12 + k] = _mm512_shuffle_i32x4(low13, high13, 0xdd);
    }
}

/* Word i + 16 of the schedule takes the place of word i. */
INLINE void next_word(__m512i w[16], int i)
{
    __m512i before = w[(i + 1) & 15], last = w[(i + 14) & 15];
    __m512i s0 = sum3(_mm512_ror_epi32(before, 7), _mm512_ror_epi32(before, 18), _mm512_srli_epi32(before, 3));
    __m512i s1 = sum3(_mm512_ror_epi32(last, 17), _mm512_ror_epi32(last, 19), _mm512_srli_epi32(last, 10));
    w[i] = _mm512_add_epi32(_mm512_add_epi32(w[i], w[(i + 9) & 15]), _mm512_add_epi32(s0, s1));
}

/* v[(8 - round) & 7] is a, and so on: the names move, not the words. */
INLINE void round_of(__m512i v[8], int round, __m512i word)
{
#define AT(i) v[((i) - round) & 7]
    __m512i e = AT(4), a = AT(0);
    __m512i s1 = sum3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25));
    __m512i choice = _mm512_ternarylogic_epi32(e, AT(5), AT(6), CHOICE);
    __m512i t1 = _mm512_add_epi32(_mm512_add_epi32(_mm512_add_epi32(AT(7), word), choice), s1);
    __m512i s0 = sum3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));
    __m512i majority = _mm512_ternarylogic_epi32(a, AT(1), AT(2), MAJORITY);
    AT(3) = _mm512_add_epi32(AT(3), t1);
    AT(7) = _mm512_add_epi32(t1, _mm512_add_epi32(s0, majority));
#undef AT
}

WIDE void sha256_compress_lanes(uint32_t state[8][HASH_LANES], const uint8_t *const blocks[HASH_LANES])
{
    __m512i w[16], v[8];
    load_words(w, blocks);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = _mm512_loadu_si512(state[i]);
    }
    for (int start = 0; start < 64; start += 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m512i constant = _mm512_set1_epi32((int)sha256_constants[start + i]);
            round_of(v, i, _mm512_add_epi32(w[i], constant));
            if (start < 48) {
                next_word(w, i);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        _mm512_storeu_si512(state[i], _mm512_add_epi32(v[i], _mm512_loadu_si512(state[i])));
    }
}
