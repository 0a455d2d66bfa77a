#include "verify.h"

#include <stdlib.h>
#include <string.h>

#include <crypto_mb/ec_nistp256.h>

#include "p256_comb.h"

struct lanes {
    struct numbers numbers[LANES];
    const struct p256_point *key[LANES];
    size_t item[LANES];
};

int p256_point_open(struct p256_point *point, const uint8_t *from, size_t length)
{
    if (length != POINT_BYTES || from[0] != 4) {
        return 0;
    }
    p256_load(point->x, from + 1);
    p256_load(point->y, from + 1 + P256_BYTES);
    return p256_on_curve(point->x, point->y);
}

/* Verifies what is in the first lanes; the others repeat the last of them. */
static enum outcome verify_lanes(uint8_t *answers, struct lanes *lanes, size_t used)
{
    const int8u *r[LANES], *s[LANES], *digest[LANES];
    const int64u *x[LANES], *y[LANES];
    for (size_t i = 0; i < LANES; i++) {
        size_t lane = i < used ? i : used - 1;
        r[i] = lanes->numbers[lane].r;
        s[i] = lanes->numbers[lane].s;
        digest[i] = lanes->numbers[lane].digest;
        x[i] = (const int64u *)lanes->key[lane]->x;
        y[i] = (const int64u *)lanes->key[lane]->y;
    }
    mbx_status status = mbx_nistp256_ecdsa_verify_mb8(r, s, digest, x, y, NULL, NULL);
    for (size_t i = 0; i < used; i++) {
        mbx_status of_lane = MBX_GET_STS(status, (int)i);
        /* Numbers out of range never get here, so any other status is a fault of the library. */
        if (of_lane != MBX_STATUS_OK && of_lane != MBX_STATUS_SIGNATURE_ERR) {
            return LANE_FAILED;
        }
        answers[lanes->item[i]] = of_lane == MBX_STATUS_OK;
    }
    return DONE;
}

static struct p256_table *of_generator; /* made at the first need, and kept; NULL: not yet */

/* Returns the generator's table, or NULL if the processor lacks an instruction or there is no memory. Of two threads that make it at once, one
 * throws its own away. */
static const struct p256_table *generator_table(void)
{
    static const struct p256_point generator = {
        {0xf4a13945d898c296, 0x77037d812deb33a0, 0xf8bce6e563a440f2, 0x6b17d1f2e12c4247},
        {0xcbb6406837bf51f5, 0x2bce33576b315ece, 0x8ee7eb4a7c0f9e16, 0x4fe342e2fe1a7f9b},
    };
    struct p256_table *table = __atomic_load_n(&of_generator, __ATOMIC_ACQUIRE), *none = NULL;
    if (table || !p256_table_applicable()) {
        return table;
    }
    table = aligned_alloc(64, sizeof *table);
    if (!table || !p256_table_make(table, &generator)) {
        free(table);
        return NULL;
    }
    if (!__atomic_compare_exchange_n(&of_generator, &none, table, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        free(table);
        return none;
    }
    return table;
}

/* Reads a digest and a signature; returns whether they can be valid. */
static int open_numbers(struct numbers *numbers, const struct to_verify *item)
{
    return item->digest.length == P256_BYTES && p256_reduce_digest(numbers->digest, item->digest.data) &&
           p256_from_der(numbers->r, numbers->s, item->signature.data, item->signature.length);
}

/* Verifies signatures by one key with tables; returns 0 if there is no memory. */
static int verify_with_tables(uint8_t *answers, const struct to_verify *items, size_t count,
                              const struct p256_table *of_g)
{
    struct p256_table *table = aligned_alloc(64, sizeof *table);
    struct numbers *numbers = malloc(COMB_MOST * sizeof *numbers);
    int made = table && numbers && p256_table_make(table, items->key);
    size_t of_item[COMB_MOST], used = 0;
    for (size_t i = 0; made && i < count; i++) {
        if (open_numbers(numbers + used, items + i)) {
            of_item[used++] = i;
        }
        if (used == COMB_MOST || (used > 0 && i == count - 1)) {
            uint8_t found[COMB_MOST];
            p256_comb_verify(found, of_g, table, numbers, used);
            for (size_t j = 0; j < used; j++) {
                answers[of_item[j]] = found[j];
            }
            used = 0;
        }
    }
    free(numbers);
    free(table);
    return made;
}

enum outcome verify_all(uint8_t *answers, const struct to_verify *items, size_t count)
{
    struct lanes lanes;
    size_t used = 0;
    enum outcome outcome = DONE;

    memset(answers, 0, count);
    for (size_t i = 0, end; i < count && outcome == DONE; i = end) {
        for (end = i + 1; end < count && items[end].key == items[i].key; end++) {
        }
        if (end - i >= TABLE_LEAST) {
            const struct p256_table *of_g = generator_table();
            if (of_g && verify_with_tables(answers + i, items + i, end - i, of_g)) {
                continue;
            }
        }
        for (size_t j = i; j < end && outcome == DONE; j++) {
            if (open_numbers(lanes.numbers + used, items + j)) {
                lanes.key[used] = items[j].key;
                lanes.item[used++] = j;
            }
            if (used == LANES) {
                outcome = verify_lanes(answers, &lanes, used);
                used = 0;
            }
        }
    }
    if (outcome == DONE && used > 0) {
        outcome = verify_lanes(answers, &lanes, used);
    }
    if (outcome != DONE) {
        memset(answers, 0, count);
    }
    return outcome;
}
