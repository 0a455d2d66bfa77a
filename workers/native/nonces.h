/* Nonces for ECDSA on P-256: drawn for one signature each, and never kept. */
#ifndef VS_NONCES_H
#define VS_NONCES_H

#include <stddef.h>
#include <stdint.h>

#include "p256.h"

struct p256_secret {
    p256_number scalar;
    uint32_t hedge[8]; /* SHA-256's state after a block that begins with the scalar */
};

/* Reads a private key; returns whether it is one: 1 <= scalar < n. */
int p256_secret_open(struct p256_secret *secret, const uint8_t scalar[P256_BYTES]);

/* Fills the buffer from the operating system's generator; returns whether it did. */
int entropy(uint8_t *to, size_t length);

/* Makes a nonce, 1 <= nonce < n, of 32 bytes of entropy, which it may draw again; returns whether it could.
 *
 * A candidate is entropy, exclusive-or a keyed hash of the digest. So it is as uniform as the entropy, as FIPS 186-5 (A.3.2)
 * asks, and candidates outside of the range are rejected. Should the generator repeat itself, as that of a virtual machine
 * that is restored twice may, the hash keeps two digests from sharing a nonce, which would reveal the key.
 */
int p256_nonce(p256_number nonce, uint8_t bits[P256_BYTES], const struct p256_secret *secret,
               const uint8_t digest[P256_BYTES]);

#endif
