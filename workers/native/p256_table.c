#include "p256_table.h"

#include <stdlib.h>
#include <string.h>

#include "p256_points.h"

#define LANES_OF_TABLE 8
#define GROUPS ((WINDOWS + LANES_OF_TABLE - 1) / LANES_OF_TABLE)

struct affine {
    struct wide x, y;
};

/* What making a table needs: a lane is a window, and a group has eight windows. */
struct work {
    struct wide_point base[GROUPS];
    struct affine affine[GROUPS];
    struct wide_point point[GROUPS * MULTIPLES];
    struct affine multiple[GROUPS * MULTIPLES];
    struct wide product[GROUPS * MULTIPLES];
};

/* Writes points with affine coordinates; one inversion serves all of a lane (Montgomery's trick). No Z is 0. */
static IFMA void normalize(struct affine *affine, const struct wide_point *point, struct wide *product, size_t count)
{
    struct wide so_far = wide_of(ONE_P);
    for (size_t i = 0; i < count; i++) {
        product[i] = so_far;
        so_far = mul(so_far, point[i].z);
    }
    so_far = wide_inverse(so_far);
    for (size_t i = count; i-- > 0;) {
        const struct wide of_z = mul(so_far, product[i]), square = sqr(of_z);
        so_far = mul(so_far, point[i].z);
        affine[i].x = mul(point[i].x, square);
        affine[i].y = mul(point[i].y, mul(square, of_z));
    }
}

/* Makes the first point of each window: lane l of group g is 2^(7 (8 g + l)) times the point. */
static IFMA void double_all(struct work *work, const struct p256_point *point)
{
    __m512i x[4], y[4];
    for (int i = 0; i < 4; i++) {
        x[i] = wide_set(point->x[i]);
        y[i] = wide_set(point->y[i]);
    }
    struct wide_point next = {mul(limbs_of(x), wide_of(INTO_P)), mul(limbs_of(y), wide_of(INTO_P)), wide_of(ONE_P)};
    for (int group = 0; group < GROUPS; group++) {
        struct wide_point *base = work->base + group;
        *base = next;
        for (int lane = 0; lane < LANES_OF_TABLE; lane++) {
            const __mmask8 lanes = (__mmask8)(0xff << lane);
            base->x = wide_blend(lanes, base->x, next.x);
            base->y = wide_blend(lanes, base->y, next.y);
            base->z = wide_blend(lanes, base->z, next.z);
            for (int i = 0; i < WINDOW_BITS; i++) {
                next = point_double(next);
            }
        }
    }
}

/* Adds the first point of each window to itself, again and again. */
static IFMA void add_all(struct work *work)
{
    for (int group = 0; group < GROUPS; group++) {
        const struct affine *base = work->affine + group;
        struct wide_point *point = work->point + group * MULTIPLES;
        point[0] = (struct wide_point){base->x, base->y, wide_of(ONE_P)};
        point[1] = point_double(point[0]);
        for (int i = 2; i < MULTIPLES; i++) {
            point[i] = point_add(point[i - 1], base->x, base->y);
        }
    }
}

static IFMA void store(struct p256_table *table, const struct work *work)
{
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; i < MULTIPLES; i++) {
            const struct affine *multiple = work->multiple + group * MULTIPLES + i;
            __m512i row[WORDS];
            words_of(row, canonical(multiple->x));
            words_of(row + 4, canonical(multiple->y));
            transpose(row);
            for (int lane = 0; lane < LANES_OF_TABLE && group * LANES_OF_TABLE + lane < WINDOWS; lane++) {
                _mm512_store_si512(table->entry[group * LANES_OF_TABLE + lane][i], row[lane]);
            }
        }
    }
}

int p256_table_applicable(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
}

int p256_table_make(struct p256_table *table, const struct p256_point *point)
{
    struct work *work = aligned_alloc(64, sizeof *work);
    if (!work) {
        return 0;
    }
    double_all(work, point);
    normalize(work->affine, work->base, work->product, GROUPS);
    add_all(work);
    normalize(work->multiple, work->point, work->product, (size_t)GROUPS * MULTIPLES);
    store(table, work);
    free(work);
    return 1;
}
