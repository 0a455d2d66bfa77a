/* Verifies many signatures by one key: with tables of multiples of the generator and of the key, a verification is 74 additions. */
#ifndef VS_P256_COMB_H
#define VS_P256_COMB_H

#include "p256_table.h"

#define COMB_MOST 256 /* signatures in a call; there is at least one */

struct numbers {
    uint8_t digest[P256_BYTES], r[P256_BYTES], s[P256_BYTES];
};

/* Writes 1 for each signature that is valid, else 0. All digests are below n; r and s are from 1 to n - 1.
 *
 * A 1 is right. A 0 is not always: of two equal or opposite points no sum is computed, nor is r + n looked at. Both take a key or a signature
 * that somebody made for it.
 */
void p256_comb_verify(uint8_t *answers, const struct p256_table *of_generator, const struct p256_table *of_key,
                      const struct numbers *numbers, size_t count);

#endif
