/* Whether a point is on P-256. It is asked once for each key of a call, so that the code is short rather than fast: 5 µs. */
#include "p256.h"

#include <string.h>

static const p256_number P = {0xffffffffffffffff, 0x00000000ffffffff, 0, 0xffffffff00000001};
static const p256_number B = {0x3bce3c3e27d2604b, 0x651d06b0cc53b0f6, 0xb3ebbd55769886bc, 0x5ac635d8aa3a93e7};

/* sum = a + b modulo p, for a and b below p. The sum may be a or b. */
static void add(p256_number sum, const p256_number a, const p256_number b)
{
    p256_number whole, less;
    unsigned carry = 0, borrow = 0;
    for (int i = 0; i < 4; i++) {
        unsigned __int128 word = (unsigned __int128)a[i] + b[i] + carry;
        whole[i] = (uint64_t)word;
        carry = (unsigned)(word >> 64);
    }
    for (int i = 0; i < 4; i++) {
        unsigned __int128 word = (unsigned __int128)whole[i] - P[i] - borrow;
        less[i] = (uint64_t)word;
        borrow = (unsigned)(word >> 64) & 1;
    }
    memcpy(sum, carry >= borrow ? less : whole, sizeof less);
}

/* product = a b modulo p: bit by bit, from the highest of b. */
static void multiply(p256_number product, const p256_number a, const p256_number b)
{
    p256_number so_far = {0};
    for (int bit = 255; bit >= 0; bit--) {
        add(so_far, so_far, so_far);
        if (b[bit / 64] >> (bit % 64) & 1) {
            add(so_far, so_far, a);
        }
    }
    memcpy(product, so_far, sizeof so_far);
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
    p256_number left, right;
    multiply(left, y, y);
    for (int i = 0; i < 3; i++) {
        add(left, left, x);
    }
    multiply(right, x, x);
    multiply(right, right, x);
    add(right, right, B);
    return !memcmp(left, right, sizeof left);
}
