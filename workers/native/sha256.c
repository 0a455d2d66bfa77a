#include "sha256.h"

#include <cpuid.h>
#include <string.h>

#include "bytes.h"

static const uint32_t INITIAL[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

const uint32_t sha256_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static sha256_compress *compress = sha256_compress_plain;

void sha256_setup(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_SSSE3) || !(ecx & bit_SSE4_1)) {
        return;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & bit_SHA)) {
        compress = sha256_compress_ni;
    }
}

int sha256_accelerated(void)
{
    return compress == sha256_compress_ni;
}

static uint32_t rotated(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

void sha256_compress_plain(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    for (; count > 0; count--, blocks += SHA256_BLOCK) {
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++) {
            w[i] = load_be32(blocks + 4 * i);
        }
        for (int i = 16; i < 64; i++) {
            uint32_t s0 = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t s1 = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        memcpy(v, state, sizeof v);
        for (int i = 0; i < 64; i++) {
            uint32_t s1 = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25);
            uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
            uint32_t t1 = v[7] + s1 + choice + sha256_constants[i] + w[i];
            uint32_t s0 = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22);
            uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            memmove(v + 1, v, 7 * sizeof v[0]);
            v[4] += t1;
            v[0] = t1 + s0 + majority;
        }
        for (int i = 0; i < 8; i++) {
            state[i] += v[i];
        }
    }
}

void sha256_block(uint32_t state[8], const uint8_t block[SHA256_BLOCK])
{
    compress(state, block, 1);
}

void sha256_blocks(uint8_t digest[SHA256_BYTES], const uint8_t *blocks, size_t count)
{
    uint32_t state[8];
    memcpy(state, INITIAL, sizeof state);
    compress(state, blocks, count);
    for (int i = 0; i < 8; i++) {
        store_be32(digest + 4 * i, state[i]);
    }
}

void sha256_begin(struct sha256 *hash)
{
    memcpy(hash->state, INITIAL, sizeof INITIAL);
    hash->total = 0;
    hash->held = 0;
}

void sha256_add(struct sha256 *hash, const uint8_t *data, size_t length)
{
    if (length == 0) {
        return; /* memcpy takes no null pointer, even for nothing */
    }
    hash->total += length;
    if (hash->held > 0) {
        size_t taken = SHA256_BLOCK - hash->held;
        taken = taken < length ? taken : length;
        memcpy(hash->block + hash->held, data, taken);
        hash->held += taken;
        data += taken;
        length -= taken;
        if (hash->held < SHA256_BLOCK) {
            return;
        }
        compress(hash->state, hash->block, 1);
        hash->held = 0;
    }
    size_t whole = length / SHA256_BLOCK;
    if (whole > 0) {
        compress(hash->state, data, whole);
        data += whole * SHA256_BLOCK;
        length -= whole * SHA256_BLOCK;
    }
    if (length > 0) {
        memcpy(hash->block, data, length);
        hash->held = length;
    }
}

void sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES])
{
    uint64_t bits = hash->total << 3;
    hash->block[hash->held++] = 0x80;
    if (hash->held > SHA256_BLOCK - 8) {
        memset(hash->block + hash->held, 0, SHA256_BLOCK - hash->held);
        compress(hash->state, hash->block, 1);
        hash->held = 0;
    }
    memset(hash->block + hash->held, 0, SHA256_BLOCK - 8 - hash->held);
    store_be64(hash->block + SHA256_BLOCK - 8, bits);
    compress(hash->state, hash->block, 1);
    for (int i = 0; i < 8; i++) {
        store_be32(digest + 4 * i, hash->state[i]);
    }
}

void sha256_once(const uint8_t *data, size_t length, uint8_t digest[SHA256_BYTES])
{
    struct sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, data, length);
    sha256_end(&hash, digest);
}
