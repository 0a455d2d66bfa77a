/* Verifies signatures eight at a time. */
#ifndef VS_VERIFY_H
#define VS_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "sign.h"

#define POINT_BYTES 65
/* So many signatures by one key, in succession, are verified with a table. To make one costs as much as to verify some 20 without it; see kept_tables.h. */
#define TABLE_LEAST 32

struct p256_point {
    p256_number x, y;
};

/* Reads an uncompressed point; returns whether it is one, on the curve. */
int p256_point_open(struct p256_point *point, const uint8_t *from, size_t length);

struct to_verify {
    struct text digest;
    struct text signature;
    const struct p256_point *key;
};

/* Writes 1 for each signature that is valid, else 0.
 *
 * A digest that does not have 32 bytes has no valid signature, nor has one that is 0 modulo n: nobody knows a payload with one of
 * these two digests, and the library can't tell.
 */
enum outcome verify_all(uint8_t *answers, const struct to_verify *items, size_t count);

#endif
