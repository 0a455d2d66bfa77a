/* SHA-256 (FIPS 180-4), with the processor's SHA instructions where it has them. */
#ifndef VS_SHA256_H
#define VS_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_BLOCK 64

struct sha256 {
    uint32_t state[8];
    uint64_t total;
    size_t held; /* bytes of `block` that wait for the rest of theirs */
    uint8_t block[SHA256_BLOCK];
};

/* Compresses `count` blocks into the state. */
typedef void sha256_compress(uint32_t state[8], const uint8_t *blocks, size_t count);

/* Asks the processor which code it can run. To be called once, before anything else, by one thread. */
void sha256_setup(void);
/* Whether sha256_setup found the SHA instructions. */
int sha256_accelerated(void);

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const uint8_t *data, size_t length);
void sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES]);
void sha256_once(const uint8_t *data, size_t length, uint8_t digest[SHA256_BYTES]);
/* One block, and all of a text, for callers that pad themselves. */
void sha256_block(uint32_t state[8], const uint8_t block[SHA256_BLOCK]);
void sha256_blocks(uint8_t digest[SHA256_BYTES], const uint8_t *blocks, size_t count);

/* The two implementations, for tests to compare, and the constants of the rounds. */
extern const uint32_t sha256_constants[64];
sha256_compress sha256_compress_plain, sha256_compress_ni;

#endif
