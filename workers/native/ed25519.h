/* Ed25519 (RFC 8032, the pure form), eight signatures at a time. A signature has the bytes that any other implementation computes. */
#ifndef VS_ED25519_H
#define VS_ED25519_H

#include <stddef.h>
#include <stdint.h>

#include "sign.h"
#include "verify.h"

#define ED25519_BYTES 32 /* of a seed, a public key, and each half of a signature */
#define ED25519_SIGNATURE (2 * ED25519_BYTES)
#define ED25519_ROW_LEAST (ROW_HEAD + ED25519_SIGNATURE)
/* The library counts bytes in 32 bits, and hashes 64 more before them. */
#define ED25519_LONGEST 0x7fffffff

struct ed25519_secret {
    uint8_t seed[ED25519_BYTES];
    uint8_t public_key[ED25519_BYTES]; /* of this seed: a signature with another one would reveal the key */
};

/* Reads a private key whose public key is known; returns whether each lane of the library computes that one. */
int ed25519_secret_open(struct ed25519_secret *secret, const uint8_t seed[ED25519_BYTES],
                        const uint8_t public_key[ED25519_BYTES]);

/* Like sign_rows, with keys that are ed25519_secret. No text is longer than ED25519_LONGEST. */
enum outcome ed25519_sign_rows(uint8_t *rows, size_t width, const struct to_sign *items, size_t count);

struct ed25519_to_verify {
    struct text message;
    struct text signature;
    const uint8_t *key;
};

/* Whether 32 bytes are a number below p with a sign: no other form of a point is taken. */
int ed25519_is_canonical(const uint8_t point[ED25519_BYTES]);

/* Writes 1 for each signature that is valid, else 0. */
enum outcome ed25519_verify_all(uint8_t *answers, const struct ed25519_to_verify *items, size_t count);

#endif
