/* Verifies many signatures by one key: with tables of multiples of the generator and of the key, a verification is 73 additions. */
#ifndef VS_P256_COMB_H
#define VS_P256_COMB_H

#include "p256_table.h"

#define COMB_MOST 256 /* signatures in a call; there is at least one */

struct numbers {
    uint8_t digest[P256_BYTES], r[P256_BYTES], s[P256_BYTES];
};

#define LANES_OF_COMB 8
#define COMB_GROUPS (COMB_MOST / LANES_OF_COMB)

#define COMB_POINTS (2 * WINDOWS)

/* Affine points of eight signatures, in Montgomery's form, small. */
struct comb_point {
    struct wide x, y;
};

/* Eight signatures. */
struct comb_group {
    struct wide s, of_digest, of_r; /* the last two are plain */
    struct wide product;
};

/* The tables, which the caller sets, and what a call needs: 1.9 MB. */
struct comb {
    const struct p256_table *of_generator, *of_key;
    struct comb_group group[COMB_GROUPS];
    struct comb_point point[COMB_POINTS][COMB_GROUPS]; /* what is added up: u1 G and u2 Q of one digit each, then sums */
    __mmask8 empty[COMB_POINTS][COMB_GROUPS];          /* the lanes in which a point is none */
    struct wide before[COMB_POINTS / 2][COMB_GROUPS];  /* products of differences that come before that of a pair */
    __mmask8 failed;                                   /* the lanes in which points could not be added */
};

/* Writes 1 for each signature that is valid, else 0. All digests are below n; r and s are from 1 to n - 1.
 *
 * A 1 is right. A 0 is not always: of two equal or opposite points no sum is computed, for all signatures in that lane, nor is r + n looked
 * at. Both take a key or a signature that somebody made for it.
 */
void p256_comb_verify(struct comb *comb, uint8_t *answers, const struct numbers *numbers, size_t count);

#endif
