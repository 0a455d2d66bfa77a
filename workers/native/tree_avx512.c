/* Writes a leaf for its hash, with copies of 64 bytes. Only called where the processor has AVX-512: see sha256_lanes_setup. */
#include <immintrin.h>

#include "bytes.h"
#include "tree.h"

#define WIDE __attribute__((target("avx512f,avx512bw")))
#define INLINE WIDE static inline __attribute__((always_inline))

/* Writes a text and zeros, up to 63 bytes more than it has; nothing is read but the text. */
INLINE uint8_t *put(uint8_t *at, const struct text *text)
{
    for (size_t done = 0; done < text->length; done += SHA256_BLOCK) {
        size_t left = text->length - done;
        __mmask64 bytes = left < SHA256_BLOCK ? ((__mmask64)1 << left) - 1 : ~(__mmask64)0;
        _mm512_storeu_si512(at + done, _mm512_maskz_loadu_epi8(bytes, text->data + done));
    }
    return at + text->length;
}

WIDE void leaf_write_wide(uint8_t *to, const struct leaf *leaf, size_t blocks)
{
    to[0] = 0;
    store_be32(to + 1, (uint32_t)leaf->id.length);
    uint8_t *at = put(put(put(to + LEAF_HEAD, &leaf->id), &leaf->digest), &leaf->signature);
    _mm512_storeu_si512(at, _mm512_zextsi128_si512(_mm_cvtsi32_si128(0x80)));
    _mm512_storeu_si512(at + SHA256_BLOCK, _mm512_setzero_si512());
    store_be64(to + blocks * SHA256_BLOCK - 8, (uint64_t)(at - to) << 3);
}
