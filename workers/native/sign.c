#include "sign.h"

#include <string.h>

#include <crypto_mb/ec_nistp256.h>

#include "sha256.h"
#include "wipe.h"

/* Entropy is drawn for this many lanes at a time. */
#define DRAWN (8 * LANES)

struct lanes {
    uint8_t digest[LANES][P256_BYTES]; /* of what is signed, modulo n */
    p256_number nonce[LANES];
    const struct p256_secret *key[LANES];
    uint8_t r[LANES][P256_BYTES];
    uint8_t s[LANES][P256_BYTES];
};

static int sign_lanes(struct lanes *lanes)
{
    int8u *r[LANES], *s[LANES];
    const int8u *digest[LANES];
    const int64u *nonce[LANES], *key[LANES];
    for (int i = 0; i < LANES; i++) {
        r[i] = lanes->r[i];
        s[i] = lanes->s[i];
        digest[i] = lanes->digest[i];
        nonce[i] = (const int64u *)lanes->nonce[i];
        key[i] = (const int64u *)lanes->key[i]->scalar;
    }
    /* Four bits for each lane: all of them must be zero. */
    return mbx_nistp256_ecdsa_sign_mb8(r, s, digest, nonce, key, NULL) == MBX_STATUS_OK;
}

static void hash_item(uint8_t *row, uint8_t digest[P256_BYTES], const struct to_sign *item)
{
    uint8_t hash[SHA256_BYTES];
    sha256_once(item->payload.data, item->payload.length, row);
    if (item->message.data) {
        sha256_once(item->message.data, item->message.length, hash);
        (void)p256_reduce_digest(digest, hash); /* of a digest that is 0, the library refuses the lane */
    } else {
        (void)p256_reduce_digest(digest, row);
    }
}

static void pack(uint8_t *row, size_t width, const uint8_t r[P256_BYTES], const uint8_t s[P256_BYTES])
{
    size_t size = p256_to_der(row + ROW_HEAD, r, s);
    row[ROW_HEAD - 2] = (uint8_t)(size >> 8);
    row[ROW_HEAD - 1] = (uint8_t)size;
    memset(row + ROW_HEAD + size, 0, width - ROW_HEAD - size);
}

/* Signs up to eight items; a lane without one signs the last item again, with a nonce of its own, for nobody. */
static enum outcome sign_some(struct lanes *lanes, uint8_t (*bits)[P256_BYTES], uint8_t *rows, size_t width,
                              const struct to_sign *items, size_t count)
{
    for (size_t i = 0; i < LANES; i++) {
        size_t from = i < count ? i : count - 1;
        if (i < count) {
            hash_item(rows + i * width, lanes->digest[i], items + i);
        } else {
            memcpy(lanes->digest[i], lanes->digest[from], P256_BYTES);
        }
        lanes->key[i] = items[from].key;
        if (!p256_nonce(lanes->nonce[i], bits[i], lanes->key[i], lanes->digest[i])) {
            return NO_ENTROPY;
        }
    }
    if (!sign_lanes(lanes)) {
        return LANE_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        pack(rows + i * width, width, lanes->r[i], lanes->s[i]);
    }
    return DONE;
}

enum outcome sign_rows(uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    struct lanes lanes;
    uint8_t bits[DRAWN][P256_BYTES];
    enum outcome outcome = DONE;

    for (size_t done = 0; done < count && outcome == DONE; done += LANES) {
        size_t left = count - done, lane = done % DRAWN;
        if (lane == 0) {
            size_t wanted = (left + LANES - 1) / LANES * LANES;
            if (!entropy(bits[0], (wanted < DRAWN ? wanted : DRAWN) * P256_BYTES)) {
                outcome = NO_ENTROPY;
                break;
            }
        }
        outcome = sign_some(&lanes, bits + lane, rows + done * width, width, items + done, left < LANES ? left : LANES);
    }
    wipe(&lanes, sizeof lanes);
    wipe(bits, sizeof bits);
    wipe_traces();
    if (outcome != DONE) {
        memset(rows, 0, count * width); /* a wrong signature may reveal the key */
    }
    return outcome;
}

enum outcome sign_with_nonce(uint8_t der[P256_DER_MAX], size_t *length, const struct p256_secret *key,
                             const p256_number nonce, const uint8_t digest[P256_BYTES])
{
    struct lanes lanes;
    for (int i = 0; i < LANES; i++) {
        (void)p256_reduce_digest(lanes.digest[i], digest);
        memcpy(lanes.nonce[i], nonce, sizeof(p256_number));
        lanes.key[i] = key;
    }
    int same = sign_lanes(&lanes);
    for (int i = 1; i < LANES; i++) {
        same &= !memcmp(lanes.r[i], lanes.r[0], P256_BYTES) && !memcmp(lanes.s[i], lanes.s[0], P256_BYTES);
    }
    if (same) {
        *length = p256_to_der(der, lanes.r[0], lanes.s[0]);
    }
    wipe(&lanes, sizeof lanes);
    wipe_traces();
    return same ? DONE : LANE_FAILED;
}
