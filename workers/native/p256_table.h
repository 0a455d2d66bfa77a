/* Multiples of a point of P-256, so that a verification only adds: signed digits of 7 bits (Yao's or Pippenger's fixed-base windows). */
#ifndef VS_P256_TABLE_H
#define VS_P256_TABLE_H

#include "p256_lanes.h"
#include "verify.h"

#define WINDOW_BITS 7
#define MULTIPLES (1 << (WINDOW_BITS - 1)) /* the digits 1 to 64 */
#define WINDOWS 37                         /* for scalars below 2^259 */

/* Entry d - 1 of window i is d 2^(7 i) times the point, affine, in Montgomery's form, as words below p. 148 KiB. */
struct p256_table {
    _Alignas(64) uint64_t entry[WINDOWS][MULTIPLES][WORDS];
};

/* Whether the processor has the instructions. */
int p256_table_applicable(void);
/* Makes the table of a point on the curve; returns 0 if there is no memory. */
int p256_table_make(struct p256_table *table, const struct p256_point *point);

#endif
