/* Rows as Postgres sends them for COPY … TO STDOUT (FORMAT binary), whatever bytes they are made of. */
#ifndef VS_COPIED_H
#define VS_COPIED_H

#include <stddef.h>
#include <stdint.h>

#include "sign.h"

enum copied { COPIED_ROW, COPIED_END, COPIED_MALFORMED };

/* What is left to be read. */
struct copied_rows {
    const uint8_t *at;
    size_t left;
};

/* Reads what comes before the first row; returns whether it is that. */
int copied_open(struct copied_rows *rows, const uint8_t *data, size_t length);
/* Reads a row of just so many fields. One that is NULL has no data, and one that is empty has some. After the end, there is nothing. */
enum copied copied_next(struct copied_rows *rows, struct text *fields, int count);

/* Ids in ascending order, as they are in memory, and where the next one is expected. */
struct ids {
    const uint8_t *ids;
    size_t count, next;
};

int64_t id_at(const struct ids *ids, size_t place);
/* Whether each id is above the one before. */
int ids_ascend(const struct ids *ids);
/* Returns the place of an id, which is that after the last one that was found in most cases; or the number of ids: it is none of them. */
size_t id_place(struct ids *ids, int64_t id);

#endif
