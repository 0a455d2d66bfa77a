/* SHA-256 of many texts, sixteen at a time where the processor has AVX-512. For public data alone: the time depends on their lengths. */
#ifndef VS_SHA256_LANES_H
#define VS_SHA256_LANES_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"
#include "sign.h"

#define HASH_LANES 16

/* Asks the processor which code it can run. To be called once, after sha256_setup, by one thread. */
void sha256_lanes_setup(void);
/* Whether sha256_lanes_setup found AVX-512. */
int sha256_lanes_wide(void);

/* Writes the digest of each text. */
void sha256_many(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count);

/* Pads a text where it is, with up to 72 bytes more; returns its number of blocks. */
size_t sha256_pad(uint8_t *text, size_t length);
/* Writes the digests of up to sixteen nodes of a tree, each over the octet 1 and a pair of digests. They may overwrite the pairs. */
void sha256_nodes(uint8_t (*digests)[SHA256_BYTES], const uint8_t (*pairs)[2 * SHA256_BYTES], size_t count);
/* Writes the digests of up to sixteen padded texts of as many blocks each, `stride` bytes apart. */
void sha256_padded(uint8_t (*digests)[SHA256_BYTES], const uint8_t *texts, size_t stride, size_t blocks, size_t count);

/* The two implementations, for tests to compare. */
void sha256_many_plain(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count);
void sha256_many_wide(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count);

/* Those for AVX-512, which is not asked for again. Of sha256_compress_lanes, word i of lane j is state[i][j]. */
void sha256_nodes_lanes(uint8_t (*digests)[SHA256_BYTES], const uint8_t (*pairs)[2 * SHA256_BYTES], size_t count);
void sha256_padded_lanes(uint8_t (*digests)[SHA256_BYTES], const uint8_t *texts, size_t stride, size_t blocks, size_t count);
void sha256_compress_lanes(uint32_t state[8][HASH_LANES], const uint8_t *const blocks[HASH_LANES]);

#endif
