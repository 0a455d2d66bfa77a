/* Whether a point is on P-256. Asked once for each key of a call: a tenth of a microsecond. Keys are public, so time may depend on them. */
#include "p256.h"

#include <string.h>

static const p256_number P = {0xffffffffffffffff, 0x00000000ffffffff, 0, 0xffffffff00000001};
/* Numbers in Montgomery's form are multiplied by 2^256 modulo p. These are b of the curve in that form, and 2^512 modulo p. */
static const p256_number B = {0xd89cdf6229c4bddf, 0xacf005cd78843090, 0xe5a220abf7212ed6, 0xdc30061d04874834};
static const p256_number INTO = {0x0000000000000003, 0xfffffffbffffffff, 0xfffffffffffffffe, 0x00000004fffffffd};

/* Writes a number of five words below 2 p as one below p. */
static void reduce(p256_number reduced, const uint64_t number[5])
{
    p256_number less;
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        unsigned __int128 word = (unsigned __int128)number[i] - P[i] - borrow;
        less[i] = (uint64_t)word;
        borrow = (uint64_t)(word >> 64) & 1;
    }
    memcpy(reduced, number[4] >= borrow ? less : number, sizeof less);
}

/* sum = a + b modulo p, for a and b below p */
static void add(p256_number sum, const p256_number a, const p256_number b)
{
    uint64_t whole[5], carry = 0;
    for (int i = 0; i < 4; i++) {
        unsigned __int128 word = (unsigned __int128)a[i] + b[i] + carry;
        whole[i] = (uint64_t)word;
        carry = (uint64_t)(word >> 64);
    }
    whole[4] = carry;
    reduce(sum, whole);
}

/* product = a b / 2^256 modulo p, for a and b below p: Montgomery's multiplication. */
static void multiply(p256_number product, const p256_number a, const p256_number b)
{
    uint64_t sum[6] = {0};
    for (int i = 0; i < 4; i++) {
        unsigned __int128 word = 0;
        for (int j = 0; j < 4; j++) {
            word = (unsigned __int128)a[j] * b[i] + sum[j] + (uint64_t)(word >> 64);
            sum[j] = (uint64_t)word;
        }
        word = (unsigned __int128)sum[4] + (uint64_t)(word >> 64);
        sum[4] = (uint64_t)word;
        sum[5] = (uint64_t)(word >> 64);

        /* A multiple of p makes the lowest word 0, and is that word times p, because p is -1 modulo 2^64. */
        uint64_t multiple = sum[0];
        word = (unsigned __int128)multiple * P[0] + sum[0];
        for (int j = 1; j < 4; j++) {
            word = (unsigned __int128)multiple * P[j] + sum[j] + (uint64_t)(word >> 64);
            sum[j - 1] = (uint64_t)word;
        }
        word = (unsigned __int128)sum[4] + (uint64_t)(word >> 64);
        sum[3] = (uint64_t)word;
        sum[4] = sum[5] + (uint64_t)(word >> 64);
    }
    reduce(product, sum);
}

static int is_below_p(const p256_number number)
{
    for (int i = 3; i >= 0; i--) {
        if (number[i] != P[i]) {
            return number[i] < P[i];
        }
    }
    return 0;
}

int p256_on_curve(const p256_number x, const p256_number y)
{
    if (!is_below_p(x) || !is_below_p(y)) {
        return 0;
    }
    /* y^2 + 3 x = x^3 + b */
    p256_number left, right, of_x, of_y;
    multiply(of_x, x, INTO);
    multiply(of_y, y, INTO);
    multiply(left, of_y, of_y);
    for (int i = 0; i < 3; i++) {
        add(left, left, of_x);
    }
    multiply(right, of_x, of_x);
    multiply(right, right, of_x);
    add(right, right, B);
    return !memcmp(left, right, sizeof left);
}
