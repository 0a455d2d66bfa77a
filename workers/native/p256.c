#include "p256.h"

#include <string.h>

#include "bytes.h"

static const p256_number N = {0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000};
/* n / 2, rounded down */
static const p256_number HALF = {0x79dce5617e3192a8, 0xde737d56d38bcf42, 0x7fffffffffffffff, 0x7fffffff80000000};

void p256_load(p256_number to, const uint8_t from[P256_BYTES])
{
    for (int i = 0; i < 4; i++) {
        to[i] = load_be64(from + 24 - 8 * i);
    }
}

void p256_store(uint8_t to[P256_BYTES], const p256_number from)
{
    for (int i = 0; i < 4; i++) {
        store_be64(to + 24 - 8 * i, from[i]);
    }
}

/* Writes a - b modulo 2^256; returns 1 if b is the larger one, else 0. Without a branch. */
static uint64_t subtract(p256_number difference, const p256_number a, const p256_number b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        unsigned __int128 d = (unsigned __int128)a[i] - b[i] - borrow;
        difference[i] = (uint64_t)d;
        borrow = (uint64_t)(d >> 64) & 1;
    }
    return borrow;
}

static int is_zero(const p256_number number)
{
    return (number[0] | number[1] | number[2] | number[3]) == 0;
}

int p256_is_scalar(const p256_number number)
{
    p256_number difference;
    int below = (int)subtract(difference, number, N);
    explicit_bzero(difference, sizeof difference); /* it differs from a secret by a constant */
    return below & !is_zero(number);
}

int p256_is_low(const p256_number s)
{
    p256_number difference;
    return !subtract(difference, HALF, s) && !is_zero(s);
}

int p256_reduce_digest(uint8_t to[P256_BYTES], const uint8_t digest[P256_BYTES])
{
    p256_number number, reduced;
    p256_load(number, digest);
    if (subtract(reduced, number, N)) {
        memcpy(to, digest, P256_BYTES);
        return !is_zero(number);
    }
    p256_store(to, reduced); /* below n, because 2^256 is below 2 n */
    return !is_zero(reduced);
}

static size_t integer_to_der(uint8_t *to, const uint8_t number[P256_BYTES])
{
    size_t skipped = 0;
    while (skipped < P256_BYTES - 1 && number[skipped] == 0) {
        skipped++;
    }
    size_t sign = number[skipped] >> 7, size = P256_BYTES - skipped;
    to[0] = 0x02;
    to[1] = (uint8_t)(sign + size);
    to[2] = 0; /* a number that begins with a one has a zero before it */
    memcpy(to + 2 + sign, number + skipped, size);
    return 2 + sign + size;
}

size_t p256_to_der(uint8_t to[P256_DER_MAX], const uint8_t r[P256_BYTES], const uint8_t s[P256_BYTES])
{
    p256_number number, twin;
    uint8_t low[P256_BYTES];
    p256_load(number, s);
    if (p256_is_low(number)) {
        memcpy(low, s, P256_BYTES);
    } else {
        subtract(twin, N, number);
        p256_store(low, twin);
    }
    size_t size = integer_to_der(to + 2, r);
    size += integer_to_der(to + 2 + size, low);
    to[0] = 0x30;
    to[1] = (uint8_t)size;
    return 2 + size;
}

/* Reads an INTEGER that is positive and as short as it can be; returns its length with head, or 0 if it is none. */
static size_t integer_from_der(uint8_t number[P256_BYTES], const uint8_t *der, size_t length)
{
    if (length < 3 || der[0] != 0x02 || der[1] == 0 || der[1] > P256_BYTES + 1 || length - 2 < der[1]) {
        return 0;
    }
    size_t size = der[1], sign = der[2] == 0 && size > 1;
    if (der[2] & 0x80 || (sign && !(der[3] & 0x80)) || size - sign > P256_BYTES) {
        return 0;
    }
    memset(number, 0, P256_BYTES);
    memcpy(number + P256_BYTES - (size - sign), der + 2 + sign, size - sign);
    return 2 + size;
}

int p256_from_der(uint8_t r[P256_BYTES], uint8_t s[P256_BYTES], const uint8_t *der, size_t length)
{
    if (length < 2 || length > P256_DER_MAX || der[0] != 0x30 || der[1] != length - 2) {
        return 0;
    }
    size_t first = integer_from_der(r, der + 2, length - 2);
    size_t second = first ? integer_from_der(s, der + 2 + first, length - 2 - first) : 0;
    if (second == 0 || first + second != length - 2) {
        return 0;
    }
    p256_number number;
    p256_load(number, r);
    if (!p256_is_scalar(number)) {
        return 0;
    }
    p256_load(number, s);
    return p256_is_low(number);
}
