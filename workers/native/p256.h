/* Numbers of P-256 below 2^256, as four words, the lowest first; and signatures in DER. */
#ifndef VS_P256_H
#define VS_P256_H

#include <stddef.h>
#include <stdint.h>

#define P256_BYTES 32
#define P256_DER_MAX 71 /* with a low s: 2 + (2 + 33) + (2 + 32) */

typedef uint64_t p256_number[4];

void p256_load(p256_number to, const uint8_t from[P256_BYTES]);
void p256_store(uint8_t to[P256_BYTES], const p256_number from);

/* Whether 1 <= number < n, the order of the group. Takes the same time for every number. */
int p256_is_scalar(const p256_number number);
/* Whether 1 <= s <= n / 2. */
int p256_is_low(const p256_number s);
/* Writes a digest modulo n, because the library refuses one that is not below n. It refuses 0 too: returns whether it is another. */
int p256_reduce_digest(uint8_t to[P256_BYTES], const uint8_t digest[P256_BYTES]);

/* Writes r and the lower of s and n - s as DER; returns its length. */
size_t p256_to_der(uint8_t to[P256_DER_MAX], const uint8_t r[P256_BYTES], const uint8_t s[P256_BYTES]);
/* Reads DER in its one form, with 1 <= r < n and 1 <= s <= n / 2; returns whether it is that. */
int p256_from_der(uint8_t r[P256_BYTES], uint8_t s[P256_BYTES], const uint8_t *der, size_t length);

/* Whether x and y are below p and the point (x, y) is on the curve. Not for secrets. */
int p256_on_curve(const p256_number x, const p256_number y);

#endif
