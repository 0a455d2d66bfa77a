/* Signatures of ECDSA on P-256, made of the points of their nonces: all that comes after the multiplication of the generator. */
#ifndef VS_P256_ECDSA_H
#define VS_P256_ECDSA_H

#include <stddef.h>

#include "p256.h"

#define ECDSA_MOST 64 /* signatures in a call */

/* What one signature is made of. Everything here is secret but the digest. */
struct ecdsa_lane {
    _Alignas(64) p256_number x; /* of the nonce times the generator: X / Z^2, below p */
    p256_number z;
    p256_number nonce;  /* 1 <= nonce < n */
    p256_number digest; /* below n */
    p256_number key;
    p256_number unused;
};

/* Replaces x by r and z by s, neither of which is 0, in groups of eight lanes; returns whether it could. The time that it takes, and the
 * memory that it reads, are the same for all numbers.
 *
 * One inversion modulo p and one modulo n serve each lane of all groups (Montgomery's trick). They are most of the work that is not the
 * multiplication, and the library does them for each group. A fault of one is seen.
 */
int p256_ecdsa(struct ecdsa_lane *lanes, size_t groups);

#endif
