#include "ed25519.h"

#include <string.h>

#include <crypto_mb/ed25519.h>

#include "sha256.h"
#include "wipe.h"

/* The order of the group, the lowest byte first. */
static const uint8_t ORDER[ED25519_BYTES] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7,
                                             0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};

int ed25519_secret_open(struct ed25519_secret *secret, const uint8_t seed[ED25519_BYTES],
                        const uint8_t public_key[ED25519_BYTES])
{
    ed25519_public_key found[LANES];
    ed25519_public_key *at[LANES];
    const ed25519_private_key *private_key[LANES];

    memcpy(secret->seed, seed, ED25519_BYTES);
    for (int i = 0; i < LANES; i++) {
        at[i] = found + i;
        private_key[i] = (const ed25519_private_key *)secret->seed;
    }
    int same = mbx_ed25519_public_key_mb8(at, private_key) == MBX_STATUS_OK;
    for (int i = 0; i < LANES; i++) {
        same &= !memcmp(found[i], public_key, ED25519_BYTES);
    }
    memcpy(secret->public_key, public_key, ED25519_BYTES);
    wipe_traces();
    if (!same) {
        wipe(secret, sizeof *secret);
    }
    return same;
}

/* Signs up to eight items; the lanes without one repeat the last item. */
static enum outcome sign_some(uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    uint8_t r[LANES][ED25519_BYTES], s[LANES][ED25519_BYTES];
    ed25519_sign_component *at_r[LANES], *at_s[LANES];
    const int8u *message[LANES];
    int32u length[LANES];
    const ed25519_private_key *private_key[LANES];
    const ed25519_public_key *public_key[LANES];

    for (size_t i = 0; i < LANES; i++) {
        const struct to_sign *item = items + (i < count ? i : count - 1);
        const struct ed25519_secret *key = item->key;
        const struct text *text = item->message.data ? &item->message : &item->payload;
        at_r[i] = &r[i];
        at_s[i] = &s[i];
        message[i] = text->data;
        length[i] = (int32u)text->length;
        private_key[i] = &key->seed;
        public_key[i] = &key->public_key;
    }
    if (mbx_ed25519_sign_mb8(at_r, at_s, message, length, private_key, public_key) != MBX_STATUS_OK) {
        return LANE_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *row = rows + i * width;
        sha256_once(items[i].payload.data, items[i].payload.length, row);
        row[ROW_HEAD - 2] = 0;
        row[ROW_HEAD - 1] = ED25519_SIGNATURE;
        memcpy(row + ROW_HEAD, r[i], ED25519_BYTES);
        memcpy(row + ROW_HEAD + ED25519_BYTES, s[i], ED25519_BYTES);
        memset(row + ED25519_ROW_LEAST, 0, width - ED25519_ROW_LEAST);
    }
    return DONE;
}

enum outcome ed25519_sign_rows(uint8_t *rows, size_t width, const struct to_sign *items, size_t count)
{
    enum outcome outcome = DONE;
    for (size_t done = 0; done < count && outcome == DONE; done += LANES) {
        size_t left = count - done;
        outcome = sign_some(rows + done * width, width, items + done, left < LANES ? left : LANES);
    }
    wipe_traces(); /* the library wipes less here than of ECDSA */
    if (outcome != DONE) {
        memset(rows, 0, count * width);
    }
    return outcome;
}

static int is_below_order(const uint8_t s[ED25519_BYTES])
{
    for (int i = ED25519_BYTES - 1; i >= 0; i--) {
        if (s[i] != ORDER[i]) {
            return s[i] < ORDER[i];
        }
    }
    return 0;
}

int ed25519_is_canonical(const uint8_t point[ED25519_BYTES])
{
    if ((point[31] & 0x7f) != 0x7f || point[0] < 0xed) {
        return 1;
    }
    for (int i = 1; i < 31; i++) {
        if (point[i] != 0xff) {
            return 1;
        }
    }
    return 0;
}

enum outcome ed25519_verify_all(uint8_t *answers, const struct ed25519_to_verify *items, size_t count)
{
    const struct ed25519_to_verify *lanes[LANES];
    size_t used = 0;

    memset(answers, 0, count);
    for (size_t i = 0; i < count; i++) {
        /* The library takes an s that is not below the order, which is another signature of the same: it is refused here. */
        const struct text *signature = &items[i].signature;
        if (signature->length == ED25519_SIGNATURE && is_below_order(signature->data + ED25519_BYTES) &&
            ed25519_is_canonical(signature->data) && ed25519_is_canonical(items[i].key)) {
            lanes[used++] = items + i;
        }
        if (used == 0 || (used < LANES && i < count - 1)) {
            continue;
        }
        const ed25519_sign_component *r[LANES], *s[LANES];
        const int8u *message[LANES];
        int32u length[LANES];
        const ed25519_public_key *key[LANES];
        for (size_t lane = 0; lane < LANES; lane++) {
            const struct ed25519_to_verify *item = lanes[lane < used ? lane : used - 1];
            r[lane] = (const ed25519_sign_component *)item->signature.data;
            s[lane] = (const ed25519_sign_component *)(item->signature.data + ED25519_BYTES);
            message[lane] = item->message.data;
            length[lane] = (int32u)item->message.length;
            key[lane] = (const ed25519_public_key *)item->key;
        }
        mbx_status status = mbx_ed25519_verify_mb8(r, s, message, length, key);
        for (size_t lane = 0; lane < used; lane++) {
            mbx_status of_lane = MBX_GET_STS(status, (int)lane);
            if (of_lane != MBX_STATUS_OK && of_lane != MBX_STATUS_SIGNATURE_ERR) {
                memset(answers, 0, count);
                return LANE_FAILED;
            }
            answers[lanes[lane] - items] = of_lane == MBX_STATUS_OK;
        }
        used = 0;
    }
    return DONE;
}
