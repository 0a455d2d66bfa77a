/* Points of P-256, eight at a time. */
#ifndef VS_P256_POINTS_H
#define VS_P256_POINTS_H

#include "p256_lanes.h"

/* A point in Jacobian coordinates: (X / Z^2, Y / Z^3), all small. With a Z of 0 it stands for a sum that could not be computed. */
struct wide_point {
    struct wide x, y, z;
};

static inline IFMA struct wide sqr_times(struct wide a, int times)
{
    while (times-- > 0) {
        a = sqr(a);
    }
    return a;
}

/* 1 / a modulo p, as a^(p - 2); of 0 it is 0. `ones_k` has an exponent of k ones. */
static inline IFMA struct wide wide_inverse(struct wide a)
{
    const struct wide ones_2 = mul(sqr(a), a), ones_4 = mul(sqr_times(ones_2, 2), ones_2);
    const struct wide ones_8 = mul(sqr_times(ones_4, 4), ones_4), ones_16 = mul(sqr_times(ones_8, 8), ones_8);
    const struct wide ones_24 = mul(sqr_times(ones_16, 8), ones_8), ones_28 = mul(sqr_times(ones_24, 4), ones_4);
    const struct wide ones_30 = mul(sqr_times(ones_28, 2), ones_2), ones_32 = mul(sqr_times(ones_30, 2), ones_2);
    struct wide power = mul(sqr_times(ones_32, 32), a);
    power = mul(sqr_times(power, 128), ones_32);
    power = mul(sqr_times(power, 32), ones_32);
    power = mul(sqr_times(power, 30), ones_30);
    return mul(sqr_times(power, 2), a);
}

/* 2 a, for points of odd order: "dbl-2001-b" of the Explicit-Formulas Database, for a curve with a = -3. */
static inline IFMA struct wide_point point_double(struct wide_point a)
{
    struct wide_point twice;
    const struct wide delta = sqr(a.z), gamma = sqr(a.y), beta = mul(a.x, gamma);
    struct wide alpha = mul(sub(a.x, delta), fold(add_loose(a.x, delta)));
    alpha = fold(add_loose(alpha, add_loose(alpha, alpha)));
    const struct wide two_beta = fold(add_loose(beta, beta)), four_beta = fold(add_loose(two_beta, two_beta));
    const struct wide eight_beta = fold(add_loose(four_beta, four_beta));
    twice.x = fold(sub_loose(sqr(alpha), eight_beta));
    const struct wide yz = mul(a.y, a.z);
    twice.z = fold(add_loose(yz, yz));
    struct wide eighth = sqr(gamma);
    for (int i = 0; i < 3; i++) {
        eighth = fold(add_loose(eighth, eighth));
    }
    twice.y = fold(sub_loose(mul(alpha, sub(four_beta, twice.x)), eighth));
    return twice;
}

/* a + (x, y), for an affine point of small coordinates: "madd-2004-hmv" of the Explicit-Formulas Database. If a is (x, y), (x, -y) or has
 * a Z of 0, the sum has a Z of 0. */
static inline IFMA struct wide_point point_add(struct wide_point a, struct wide x, struct wide y)
{
    struct wide_point sum;
    const struct wide zz = sqr(a.z);
    const struct wide h = sub(mul(x, zz), a.x);
    const struct wide r = sub(mul(y, mul(a.z, zz)), a.y);
    const struct wide hh = sqr(h), hhh = mul(h, hh), v = mul(a.x, hh);
    sum.z = mul(a.z, h);
    sum.x = fold(sub_loose(sub_loose(sub_loose(sqr(r), hhh), v), v));
    sum.y = fold(sub_loose(mul(r, sub(v, sum.x)), mul(a.y, hhh)));
    return sum;
}

#endif
