#include "sha256_lanes.h"

#include <string.h>

#include "bytes.h"

/* With fewer texts than this that have blocks left, one after the other is faster. */
#define WORTH_IT 4

static int wide;

void sha256_lanes_setup(void)
{
    __builtin_cpu_init();
    wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

int sha256_lanes_wide(void)
{
    return wide;
}

void sha256_many_plain(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sha256_once(texts[i].data, texts[i].length, digests[i]);
    }
}

/* A text in one of sixteen lanes: its whole blocks where they are, and what is left of it, padded, in one or two more. */
struct lane {
    const uint8_t *data;
    size_t whole, blocks;
    uint8_t rest[2 * SHA256_BLOCK];
};

static void open_lane(struct lane *lane, const struct text *text)
{
    size_t left = text->length % SHA256_BLOCK;
    lane->data = text->data;
    lane->whole = text->length / SHA256_BLOCK;
    size_t padded = left + 9 <= SHA256_BLOCK ? SHA256_BLOCK : 2 * SHA256_BLOCK;
    lane->blocks = lane->whole + padded / SHA256_BLOCK;
    memset(lane->rest, 0, padded);
    if (left) {
        memcpy(lane->rest, text->data + lane->whole * SHA256_BLOCK, left);
    }
    lane->rest[left] = 0x80;
    store_be64(lane->rest + padded - 8, (uint64_t)text->length << 3);
}

static const uint8_t *block_of(const struct lane *lane, size_t number)
{
    return number < lane->whole ? lane->data + number * SHA256_BLOCK : lane->rest + (number - lane->whole) * SHA256_BLOCK;
}

/* Ends a lane whose first `done` blocks are in its state. */
static void close_lane(uint8_t digest[SHA256_BYTES], const struct lane *lane, uint32_t states[8][HASH_LANES], size_t at,
                       size_t done)
{
    uint32_t state[8];
    for (int i = 0; i < 8; i++) {
        state[i] = states[i][at];
    }
    for (; done < lane->blocks; done++) {
        sha256_block(state, block_of(lane, done));
    }
    for (int i = 0; i < 8; i++) {
        store_be32(digest + 4 * i, state[i]);
    }
}

static void begin_states(uint32_t states[8][HASH_LANES])
{
    struct sha256 fresh;
    sha256_begin(&fresh);
    for (int i = 0; i < 8; i++) {
        for (int lane = 0; lane < HASH_LANES; lane++) {
            states[i][lane] = fresh.state[i];
        }
    }
}

static void hash_some(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count)
{
    struct lane lanes[HASH_LANES];
    uint32_t states[8][HASH_LANES];
    const uint8_t *blocks[HASH_LANES];
    size_t open = 0;
    begin_states(states);
    for (size_t i = 0; i < count; i++) {
        open_lane(lanes + i, texts + i);
        open |= (size_t)1 << i;
    }
    for (size_t done = 0; open; done++) {
        int few = __builtin_popcountll(open) < WORTH_IT;
        for (size_t i = 0; i < count; i++) {
            if (open >> i & 1 && (few || done == lanes[i].blocks)) {
                close_lane(digests[i], lanes + i, states, i, done);
                open &= ~((size_t)1 << i);
            }
        }
        if (open) {
            for (size_t i = 0; i < HASH_LANES; i++) { /* a lane that has ended, or has no text, hashes for nobody */
                int is_open = open >> i & 1;
                blocks[i] = is_open ? block_of(lanes + i, done) : lanes[0].rest;
            }
            sha256_compress_lanes(states, blocks);
        }
    }
}

void sha256_many_wide(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count)
{
    for (size_t done = 0; done < count; done += HASH_LANES) {
        size_t left = count - done;
        hash_some(digests + done, texts + done, left < HASH_LANES ? left : HASH_LANES);
    }
}

void sha256_many(uint8_t (*digests)[SHA256_BYTES], const struct text *texts, size_t count)
{
    (wide ? sha256_many_wide : sha256_many_plain)(digests, texts, count);
}

size_t sha256_pad(uint8_t *text, size_t length)
{
    size_t blocks = (length + 9 + SHA256_BLOCK - 1) / SHA256_BLOCK, end = blocks * SHA256_BLOCK;
    memset(text + length, 0, end - length);
    text[length] = 0x80;
    store_be64(text + end - 8, (uint64_t)length << 3);
    return blocks;
}

void sha256_padded(uint8_t (*digests)[SHA256_BYTES], const uint8_t *texts, size_t stride, size_t blocks, size_t count)
{
    if (wide && count >= WORTH_IT) {
        sha256_padded_lanes(digests, texts, stride, blocks, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        sha256_blocks(digests[i], texts + i * stride, blocks);
    }
}

void sha256_nodes(uint8_t (*digests)[SHA256_BYTES], const uint8_t (*pairs)[2 * SHA256_BYTES], size_t count)
{
    uint8_t node[2 * SHA256_BLOCK];
    if (wide && count >= WORTH_IT) {
        sha256_nodes_lanes(digests, pairs, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        node[0] = 1;
        memcpy(node + 1, pairs[i], 2 * SHA256_BYTES);
        sha256_blocks(digests[i], node, sha256_pad(node, 1 + 2 * SHA256_BYTES));
    }
}
