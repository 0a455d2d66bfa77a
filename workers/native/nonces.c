#include "nonces.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "bytes.h"
#include "sha256.h"
#include "wipe.h"

/* Of uniform candidates, one in 2^32 is rejected: this many in a row are never uniform. */
#define MOST_CANDIDATES 8

int entropy(uint8_t *to, size_t length)
{
    while (length > 0) {
        ssize_t got = getrandom(to, length, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || (size_t)got > length) {
            return 0;
        }
        to += got;
        length -= (size_t)got;
    }
    return 1;
}

int p256_secret_open(struct p256_secret *secret, const uint8_t scalar[P256_BYTES])
{
    static const char USE[] = "VaultStream ECDSA P-256 nonces";
    uint8_t block[SHA256_BLOCK] = {0};
    struct sha256 hash;

    p256_load(secret->scalar, scalar);
    if (!p256_is_scalar(secret->scalar)) {
        explicit_bzero(secret, sizeof *secret);
        return 0;
    }
    memcpy(block, scalar, P256_BYTES);
    memcpy(block + P256_BYTES, USE, sizeof USE);
    sha256_begin(&hash);
    memcpy(secret->hedge, hash.state, sizeof secret->hedge);
    sha256_block(secret->hedge, block);
    explicit_bzero(block, sizeof block);
    wipe_plain_traces(); /* SHA-256 has words of the scalar on its stack */
    return 1;
}

int p256_nonce(p256_number nonce, uint8_t bits[P256_BYTES], const struct p256_secret *secret,
               const uint8_t digest[P256_BYTES])
{
    uint8_t block[SHA256_BLOCK] = {0};
    uint32_t hedge[8];
    int found = 0;

    memcpy(hedge, secret->hedge, sizeof hedge);
    memcpy(block, digest, P256_BYTES);
    block[P256_BYTES] = 0x80; /* SHA-256's padding, of two blocks without it */
    store_be64(block + SHA256_BLOCK - 8, 8 * (SHA256_BLOCK + P256_BYTES));
    sha256_block(hedge, block);

    for (int candidate = 0; candidate < MOST_CANDIDATES; candidate++) {
        p256_load(nonce, bits);
        for (int i = 0; i < 4; i++) {
            nonce[i] ^= (uint64_t)hedge[2 * i] << 32 | hedge[2 * i + 1];
        }
        found = p256_is_scalar(nonce);
        if (found || !entropy(bits, P256_BYTES)) {
            break;
        }
    }
    explicit_bzero(bits, P256_BYTES);
    explicit_bzero(hedge, sizeof hedge);
    if (!found) {
        explicit_bzero(nonce, sizeof(p256_number));
    }
    return found;
}
