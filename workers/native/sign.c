#include "sign.h"

#include <string.h>

#include <crypto_mb/ec_nistp256.h>

#include "p256_ecdsa.h"
#include "sha256_lanes.h"
#include "wipe.h"

struct work {
    struct ecdsa_lane lane[ECDSA_MOST];
    uint8_t bits[ECDSA_MOST][P256_BYTES];
    uint8_t hash[ECDSA_MOST][SHA256_BYTES]; /* of what is signed */
    struct text text[ECDSA_MOST];
};

/* Multiplies the generator by the nonces, and makes r and s of it: x and z of each lane. Whether the library and we could. */
static int sign_lanes(struct ecdsa_lane *lanes, size_t groups)
{
    p256_number unused[LANES]; /* the library wants to write y */
    int done = 1;
    for (size_t group = 0; group < groups && done; group++) {
        int64u *x[LANES], *y[LANES], *z[LANES];
        const int64u *nonce[LANES];
        for (size_t i = 0; i < LANES; i++) {
            struct ecdsa_lane *lane = lanes + group * LANES + i;
            x[i] = (int64u *)lane->x;
            y[i] = (int64u *)unused[i];
            z[i] = (int64u *)lane->z;
            nonce[i] = (const int64u *)lane->nonce;
        }
        /* Four bits for each lane: all of them must be zero. */
        done = mbx_nistp256_ecpublic_key_mb8(x, y, z, nonce, NULL) == MBX_STATUS_OK;
    }
    done = done && p256_ecdsa(lanes, groups);
    wipe(unused, sizeof unused);
    return done;
}

/* Hashes payloads into their rows, and into `hash` what is signed. */
static void hash_items(struct work *work, uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    int other = 0;
    for (size_t i = 0; i < count; i++) {
        work->text[i] = items[i].payload;
    }
    sha256_many(work->hash, work->text, count);
    for (size_t i = 0; i < count; i++) {
        memcpy(rows + i * width, work->hash[i], SHA256_BYTES);
        if (items[i].message.data) {
            work->text[i] = items[i].message;
            other = 1;
        }
    }
    if (other) {
        sha256_many(work->hash, work->text, count);
    }
}

static void pack(uint8_t *row, size_t width, const struct ecdsa_lane *signature)
{
    uint8_t r[P256_BYTES], s[P256_BYTES];
    p256_store(r, signature->x);
    p256_store(s, signature->z);
    size_t size = p256_to_der(row + ROW_HEAD, r, s);
    row[ROW_HEAD - 2] = (uint8_t)(size >> 8);
    row[ROW_HEAD - 1] = (uint8_t)size;
    memset(row + ROW_HEAD + size, 0, width - ROW_HEAD - size);
}

/* Signs up to ECDSA_MOST items; a lane without one signs the last item again, with a nonce of its own, for nobody. */
static enum outcome sign_some(struct work *work, uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    const size_t groups = (count + LANES - 1) / LANES;
    uint8_t digest[P256_BYTES];
    hash_items(work, rows, width, items, count);
    if (!entropy(work->bits[0], groups * LANES * P256_BYTES)) {
        return NO_ENTROPY;
    }
    for (size_t i = 0; i < groups * LANES; i++) {
        struct ecdsa_lane *lane = work->lane + i;
        const struct p256_secret *key = items[i < count ? i : count - 1].key;
        if (i < count) {
            (void)p256_reduce_digest(digest, work->hash[i]); /* one that is 0 can be signed */
        }
        p256_load(lane->digest, digest);
        memcpy(lane->key, key->scalar, sizeof lane->key);
        if (!p256_nonce(lane->nonce, work->bits[i], key, digest)) {
            return NO_ENTROPY;
        }
    }
    if (!sign_lanes(work->lane, groups)) {
        return LANE_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        pack(rows + i * width, width, work->lane + i);
    }
    return DONE;
}

enum outcome sign_rows(uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    struct work work;
    enum outcome outcome = DONE;

    memset(work.lane, 0, sizeof work.lane);
    for (size_t done = 0; done < count && outcome == DONE; done += ECDSA_MOST) {
        const size_t left = count - done;
        outcome = sign_some(&work, rows + done * width, width, items + done, left < ECDSA_MOST ? left : ECDSA_MOST);
    }
    wipe(&work, sizeof work);
    wipe_traces();
    if (outcome != DONE) {
        memset(rows, 0, count * width); /* a wrong signature may reveal the key */
    }
    return outcome;
}

enum outcome sign_with_nonce(uint8_t der[P256_DER_MAX], size_t *length, const struct p256_secret *key,
                             const p256_number nonce, const uint8_t digest[P256_BYTES])
{
    struct ecdsa_lane lanes[LANES];
    uint8_t reduced[P256_BYTES], r[P256_BYTES], s[P256_BYTES];
    (void)p256_reduce_digest(reduced, digest);
    memset(lanes, 0, sizeof lanes);
    for (int i = 0; i < LANES; i++) {
        p256_load(lanes[i].digest, reduced);
        memcpy(lanes[i].nonce, nonce, sizeof(p256_number));
        memcpy(lanes[i].key, key->scalar, sizeof(p256_number));
    }
    int same = sign_lanes(lanes, 1);
    for (int i = 1; i < LANES; i++) {
        same &= !memcmp(lanes[i].x, lanes[0].x, P256_BYTES) && !memcmp(lanes[i].z, lanes[0].z, P256_BYTES);
    }
    if (same) {
        p256_store(r, lanes[0].x);
        p256_store(s, lanes[0].z);
        *length = p256_to_der(der, r, s);
    }
    wipe(lanes, sizeof lanes);
    wipe_traces();
    return same ? DONE : LANE_FAILED;
}
