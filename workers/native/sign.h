/* Signs payloads eight at a time: from the payload to the packed row. */
#ifndef VS_SIGN_H
#define VS_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "nonces.h"

#define LANES 8
/* A row: SHA-256 of the payload, the length of the signature as two bytes, the signature, zeros. */
#define ROW_HEAD 34
#define ROW_LEAST (ROW_HEAD + P256_DER_MAX)

enum outcome { DONE, NO_ENTROPY, LANE_FAILED };

struct text {
    const uint8_t *data;
    size_t length;
};

struct to_sign {
    struct text payload;
    struct text message; /* what is signed; data is NULL: the payload */
    const void *key; /* a p256_secret or an ed25519_secret */
};

/* Writes `count` rows of `width` bytes, with keys that are p256_secret. If it fails, all rows are zeros. */
enum outcome sign_rows(uint8_t *rows, size_t width, const struct to_sign *items, size_t count);

/* Signs a digest with a given nonce, in every lane, and compares the lanes. For known answers alone. */
enum outcome sign_with_nonce(uint8_t der[P256_DER_MAX], size_t *length, const struct p256_secret *key,
                             const p256_number nonce, const uint8_t digest[P256_BYTES]);

#endif
