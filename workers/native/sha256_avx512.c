/* The compression of SHA-256, of sixteen texts at a time. Only called where the processor has AVX-512: see sha256_lanes_setup. */
#include <immintrin.h>
#include <string.h>

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
    __m512i s0 = sum3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));
    __m512i majority = _mm512_ternarylogic_epi32(a, AT(1), AT(2), MAJORITY);
    /* What waits for the last round, s1 and s0, is added last: the same sum takes less time than with t1 by itself. */
    __m512i most = _mm512_add_epi32(_mm512_add_epi32(AT(7), word), choice);
    AT(3) = _mm512_add_epi32(_mm512_add_epi32(AT(3), most), s1);
    AT(7) = _mm512_add_epi32(_mm512_add_epi32(_mm512_add_epi32(most, s1), majority), s0);
#undef AT
}

/* Compresses a block of each lane into the state; uses up its words. */
WIDE static void compress(__m512i state[8], __m512i words[16])
{
    __m512i w[16], v[8];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        w[i] = words[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = state[i];
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
        state[i] = _mm512_add_epi32(v[i], state[i]);
    }
}

WIDE void sha256_compress_lanes(uint32_t state[8][HASH_LANES], const uint8_t *const blocks[HASH_LANES])
{
    __m512i words[16], v[8];
    load_words(words, blocks);
    for (int i = 0; i < 8; i++) {
        v[i] = _mm512_loadu_si512(state[i]);
    }
    compress(v, words);
    for (int i = 0; i < 8; i++) {
        _mm512_storeu_si512(state[i], v[i]);
    }
}

INLINE void begin(__m512i state[8])
{
    struct sha256 fresh;
    sha256_begin(&fresh);
    for (int i = 0; i < 8; i++) {
        state[i] = _mm512_set1_epi32((int)fresh.state[i]);
    }
}

/* Writes the digest of each lane: the state as load_words reads a block, the other way round. */
WIDE static void end(uint8_t (*digests)[SHA256_BYTES], const __m512i state[8], size_t count)
{
    uint8_t held[HASH_LANES][SHA256_BYTES];
    uint8_t (*to)[SHA256_BYTES] = count == HASH_LANES ? digests : held;
    const __m512i big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m512i *word = state + 4 * half;
        __m512i low01 = _mm512_unpacklo_epi32(word[0], word[1]), high01 = _mm512_unpackhi_epi32(word[0], word[1]);
        __m512i low23 = _mm512_unpacklo_epi32(word[2], word[3]), high23 = _mm512_unpackhi_epi32(word[2], word[3]);
        __m512i of_lane[4] = {_mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
                              _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)};
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) { /* lanes k, 4 + k, 8 + k and 12 + k */
            __m512i four = _mm512_shuffle_epi8(of_lane[k], big_endian);
            _mm_storeu_si128((__m128i *)(to[k] + 16 * half), _mm512_castsi512_si128(four));
            _mm_storeu_si128((__m128i *)(to[4 + k] + 16 * half), _mm512_extracti32x4_epi32(four, 1));
            _mm_storeu_si128((__m128i *)(to[8 + k] + 16 * half), _mm512_extracti32x4_epi32(four, 2));
            _mm_storeu_si128((__m128i *)(to[12 + k] + 16 * half), _mm512_extracti32x4_epi32(four, 3));
        }
    }
    if (to == held) {
        memcpy(digests, held, count * SHA256_BYTES);
    }
}

WIDE void sha256_padded_lanes(uint8_t (*digests)[SHA256_BYTES], const uint8_t *texts, size_t stride, size_t blocks, size_t count)
{
    __m512i words[16], state[8];
    const uint8_t *block[HASH_LANES];
    begin(state);
    for (size_t i = 0; i < HASH_LANES; i++) { /* a lane without a text hashes the first one, for nobody */
        block[i] = texts + (i < count ? i : 0) * stride;
    }
    for (size_t done = 0; done < blocks; done++) {
        load_words(words, block);
        compress(state, words);
        for (size_t i = 0; i < HASH_LANES; i++) {
            block[i] += SHA256_BLOCK;
        }
    }
    end(digests, state, count);
}

WIDE void sha256_nodes_lanes(uint8_t (*digests)[SHA256_BYTES], const uint8_t (*pairs)[2 * SHA256_BYTES], size_t count)
{
    __m512i words[16], state[8];
    uint8_t first[HASH_LANES][SHA256_BLOCK];
    uint32_t last[HASH_LANES];
    const uint8_t *blocks[HASH_LANES];
    const __m512i node = _mm512_zextsi128_si512(_mm_cvtsi32_si128(1));
    for (size_t i = 0; i < HASH_LANES; i++) {
        const uint8_t *pair = pairs[i < count ? i : 0];
        /* The octet of nodes and 63 bytes; what the mask leaves out is not read. */
        _mm512_storeu_si512(first[i], _mm512_mask_loadu_epi8(node, ~(__mmask64)1, pair - 1));
        last[i] = (uint32_t)pair[2 * SHA256_BYTES - 1] << 24 | 0x800000;
        blocks[i] = first[i];
    }
    begin(state);
    load_words(words, blocks);
    compress(state, words);
    words[0] = _mm512_loadu_si512(last); /* the last byte, and the padding */
    for (int i = 1; i < 15; i++) {
        words[i] = _mm512_setzero_si512();
    }
    words[15] = _mm512_set1_epi32(8 * (1 + 2 * SHA256_BYTES));
    compress(state, words);
    end(digests, state, count);
}
