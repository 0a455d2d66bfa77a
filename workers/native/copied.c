#include "copied.h"

#include <string.h>

#include "bytes.h"

#define SIGNATURE_BYTES 11

static uint16_t load_be16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

/* Steps over so many bytes; returns where they are, or NULL if there are fewer. */
static const uint8_t *take(struct copied_rows *rows, size_t length)
{
    const uint8_t *at = rows->at;
    if (rows->left < length) {
        return NULL;
    }
    rows->at += length;
    rows->left -= length;
    return at;
}

int copied_open(struct copied_rows *rows, const uint8_t *data, size_t length)
{
    static const uint8_t expected[SIGNATURE_BYTES] = "PGCOPY\n\377\r\n";
    *rows = (struct copied_rows){data, length};
    const uint8_t *signature = take(rows, SIGNATURE_BYTES), *flags, *extension;
    return signature && !memcmp(signature, expected, SIGNATURE_BYTES) && (flags = take(rows, 4)) && !load_be32(flags) &&
           (extension = take(rows, 4)) && !load_be32(extension);
}

enum copied copied_next(struct copied_rows *rows, struct text *fields, int count)
{
    const uint8_t *head = take(rows, 2);
    if (!head) {
        return COPIED_MALFORMED;
    }
    if (load_be16(head) == 0xffff) {
        return rows->left == 0 ? COPIED_END : COPIED_MALFORMED;
    }
    if (load_be16(head) != count) {
        return COPIED_MALFORMED;
    }
    for (int i = 0; i < count; i++) {
        const uint8_t *size = take(rows, 4);
        if (!size) {
            return COPIED_MALFORMED;
        }
        uint32_t length = load_be32(size);
        if (length == UINT32_MAX) {
            fields[i] = (struct text){NULL, 0};
            continue;
        }
        const uint8_t *data = take(rows, length);
        if (!data) {
            return COPIED_MALFORMED;
        }
        fields[i] = (struct text){data, length};
    }
    return COPIED_ROW;
}

int64_t id_at(const struct ids *ids, size_t place)
{
    int64_t id;
    memcpy(&id, ids->ids + place * sizeof id, sizeof id);
    return id;
}

int ids_ascend(const struct ids *ids)
{
    for (size_t i = 1; i < ids->count; i++) {
        if (id_at(ids, i - 1) >= id_at(ids, i)) {
            return 0;
        }
    }
    return 1;
}

size_t id_place(struct ids *ids, int64_t id)
{
    size_t low = 0, high = ids->count;
    if (ids->next < ids->count && id_at(ids, ids->next) == id) {
        return ids->next++;
    }
    while (low < high) { /* the id is at `low` or after it, and before `high` */
        size_t middle = low + (high - low) / 2;
        if (id_at(ids, middle) < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == ids->count || id_at(ids, low) != id) {
        return ids->count;
    }
    ids->next = low + 1;
    return low;
}
