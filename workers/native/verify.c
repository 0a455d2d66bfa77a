#include "verify.h"

#include <string.h>

#include <crypto_mb/ec_nistp256.h>

#include "kept_tables.h"

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

/* Reads a digest and a signature; returns whether they can be valid. */
static int open_numbers(struct numbers *numbers, const struct to_verify *item)
{
    return item->digest.length == P256_BYTES && p256_reduce_digest(numbers->digest, item->digest.data) &&
           p256_from_der(numbers->r, numbers->s, item->signature.data, item->signature.length);
}

/* Verifies signatures by one key with tables; returns 0 if there is no memory. They are taken at the first need. */
static int verify_with_tables(struct kept_tables **taken, uint8_t *answers, const struct to_verify *items, size_t count)
{
    struct kept_tables *tables = *taken ? *taken : tables_take();
    size_t of_item[COMB_MOST], used = 0;
    if (!(*taken = tables) || !tables_open(tables, items->key)) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (open_numbers(tables->numbers + used, items + i)) {
            of_item[used++] = i;
        }
        if (used == COMB_MOST || (used > 0 && i == count - 1)) {
            uint8_t found[COMB_MOST];
            p256_comb_verify(&tables->comb, found, tables->numbers, used);
            for (size_t j = 0; j < used; j++) {
                answers[of_item[j]] = found[j];
            }
            used = 0;
        }
    }
    return 1;
}

enum outcome verify_all(uint8_t *answers, const struct to_verify *items, size_t count)
{
    struct lanes lanes;
    struct kept_tables *tables = NULL;
    size_t used = 0;
    enum outcome outcome = DONE;

    memset(answers, 0, count);
    for (size_t i = 0, end; i < count && outcome == DONE; i = end) {
        for (end = i + 1; end < count && items[end].key == items[i].key; end++) {
        }
        if (end - i >= TABLE_LEAST && verify_with_tables(&tables, answers + i, items + i, end - i)) {
            continue;
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
    if (tables) {
        tables_give(tables);
    }
    if (outcome == DONE && used > 0) {
        outcome = verify_lanes(answers, &lanes, used);
    }
    if (outcome != DONE) {
        memset(answers, 0, count);
    }
    return outcome;
}
