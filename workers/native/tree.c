#include "tree.h"

#include <string.h>

#include "bytes.h"
#include "sha256_lanes.h"

/* From one leaf to the next, where sixteen are written: leaf_write_wide writes more than it needs. */
#define LEAF_STRIDE (LEAF_ROOM + 2 * SHA256_BLOCK)

const char *id_text(char buffer[ID_TEXT], int64_t number)
{
    char *at = buffer + ID_TEXT;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--at = (char)('0' + left % 10);
    } while (left /= 10);
    if (number < 0) {
        *--at = '-';
    }
    return at;
}

int signature_in(const uint8_t *row, size_t width)
{
    size_t size = (size_t)row[ROW_HEAD - 2] << 8 | row[ROW_HEAD - 1];
    return size <= width - ROW_HEAD ? (int)size : -1;
}

static void leaf_head(uint8_t head[LEAF_HEAD], const struct leaf *leaf)
{
    head[0] = 0;
    store_be32(head + 1, (uint32_t)leaf->id.length);
}

static void long_leaf_hash(uint8_t hash[SHA256_BYTES], const struct leaf *leaf)
{
    struct sha256 state;
    uint8_t head[LEAF_HEAD];
    leaf_head(head, leaf);
    sha256_begin(&state);
    sha256_add(&state, head, sizeof head);
    sha256_add(&state, leaf->id.data, leaf->id.length);
    sha256_add(&state, leaf->digest.data, leaf->digest.length);
    sha256_add(&state, leaf->signature.data, leaf->signature.length);
    sha256_end(&state, hash);
}

static uint8_t *write_text(uint8_t *at, const struct text *text)
{
    if (text->length) {
        memcpy(at, text->data, text->length);
    }
    return at + text->length;
}

static void leaf_write(uint8_t *to, const struct leaf *leaf, size_t blocks)
{
    (void)blocks;
    leaf_head(to, leaf);
    uint8_t *end = write_text(to + LEAF_HEAD, &leaf->id);
    end = write_text(end, &leaf->digest);
    end = write_text(end, &leaf->signature);
    (void)sha256_pad(to, (size_t)(end - to));
}

/* The number of a leaf's blocks, or more than there is room for. */
static size_t blocks_of(const struct leaf *leaf)
{
    if (leaf->id.length > LEAF_ROOM || leaf->digest.length > LEAF_ROOM || leaf->signature.length > LEAF_ROOM) {
        return LEAF_ROOM;
    }
    size_t length = LEAF_HEAD + leaf->id.length + leaf->digest.length + leaf->signature.length;
    return (length + 9 + SHA256_BLOCK - 1) / SHA256_BLOCK;
}

void leaf_hashes(uint8_t (*hashes)[SHA256_BYTES], const struct leaf *leaves, size_t count)
{
    uint8_t data[HASH_LANES][LEAF_STRIDE];
    for (size_t first = 0, held; first < count; first += held) {
        size_t blocks = 0;
        /* Those that are hashed together are next to each other and have as many blocks: mostly, sixteen of them. */
        for (held = 0; held < HASH_LANES && first + held < count; held++) {
            const struct leaf *leaf = leaves + first + held;
            size_t own = blocks_of(leaf);
            if (own > LEAF_ROOM / SHA256_BLOCK || (held && own != blocks)) {
                break;
            }
            blocks = own;
            (sha256_lanes_wide() ? leaf_write_wide : leaf_write)(data[held], leaf, own);
        }
        if (held) {
            sha256_padded(hashes + first, data[0], LEAF_STRIDE, blocks, held);
        } else {
            long_leaf_hash(hashes[first], leaves + first);
            held = 1;
        }
    }
}

void tree_root(uint8_t root[SHA256_BYTES], uint8_t (*level)[SHA256_BYTES], size_t count)
{
    if (count == 0) {
        sha256_once(NULL, 0, root);
        return;
    }
    for (; count > 1; count = (count + 1) / 2) {
        for (size_t first = 0, held; first < count / 2; first += held) {
            held = count / 2 - first < HASH_LANES ? count / 2 - first : HASH_LANES;
            sha256_nodes(level + first, (const uint8_t (*)[2 * SHA256_BYTES])level[2 * first], held);
        }
        if (count % 2) { /* one without a partner moves up as it is */
            memmove(level[count / 2], level[count - 1], SHA256_BYTES);
        }
    }
    memcpy(root, level[0], SHA256_BYTES);
}
