#include "verify.h"

#include <string.h>

#include <crypto_mb/ec_nistp256.h>

struct lanes {
    uint8_t digest[LANES][P256_BYTES];
    uint8_t r[LANES][P256_BYTES];
    uint8_t s[LANES][P256_BYTES];
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
        r[i] = lanes->r[lane];
        s[i] = lanes->s[lane];
        digest[i] = lanes->digest[lane];
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

enum outcome verify_all(uint8_t *answers, const struct to_verify *items, size_t count)
{
    struct lanes lanes;
    size_t used = 0;
    enum outcome outcome = DONE;

    memset(answers, 0, count);
    for (size_t i = 0; i < count && outcome == DONE; i++) {
        const struct to_verify *item = items + i;
        if (item->digest.length == P256_BYTES && p256_reduce_digest(lanes.digest[used], item->digest.data) &&
            p256_from_der(lanes.r[used], lanes.s[used], item->signature.data, item->signature.length)) {
            lanes.key[used] = item->key;
            lanes.item[used++] = i;
        }
        if (used == LANES || (used > 0 && i == count - 1)) {
            outcome = verify_lanes(answers, &lanes, used);
            used = 0;
        }
    }
    if (outcome != DONE) {
        memset(answers, 0, count);
    }
    return outcome;
}
