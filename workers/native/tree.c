#include "tree.h"

#include <string.h>

#include "bytes.h"

int signature_in(const uint8_t *row, size_t width)
{
    size_t size = (size_t)row[ROW_HEAD - 2] << 8 | row[ROW_HEAD - 1];
    return size <= width - ROW_HEAD ? (int)size : -1;
}

void leaf_hash(uint8_t hash[SHA256_BYTES], const struct text *id, const uint8_t *row)
{
    struct sha256 state;
    uint8_t head[5] = {0};
    store_be32(head + 1, (uint32_t)id->length);
    sha256_begin(&state);
    sha256_add(&state, head, sizeof head);
    sha256_add(&state, id->data, id->length);
    sha256_add(&state, row, SHA256_BYTES);
    sha256_add(&state, row + ROW_HEAD, (size_t)row[ROW_HEAD - 2] << 8 | row[ROW_HEAD - 1]);
    sha256_end(&state, hash);
}

void tree_root(uint8_t root[SHA256_BYTES], uint8_t (*level)[SHA256_BYTES], size_t count)
{
    if (count == 0) {
        sha256_once(NULL, 0, root);
        return;
    }
    for (; count > 1; count = (count + 1) / 2) {
        for (size_t i = 0; i < count / 2; i++) {
            struct sha256 state;
            sha256_begin(&state);
            sha256_add(&state, (const uint8_t *)"\1", 1);
            sha256_add(&state, level[2 * i], 2 * SHA256_BYTES);
            sha256_end(&state, level[i]);
        }
        if (count % 2) { /* one without a partner moves up as it is */
            memmove(level[count / 2], level[count - 1], SHA256_BYTES);
        }
    }
    memcpy(root, level[0], SHA256_BYTES);
}
