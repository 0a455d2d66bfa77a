/* Tables of the keys that were verified with last, from one call to the next: to make one costs as much as to verify 140 with it. */
#ifndef VS_KEPT_TABLES_H
#define VS_KEPT_TABLES_H

#include "p256_comb.h"

#define TABLES_KEPT 128 /* 148 KiB each */

/* What a call verifies with. */
struct kept_tables {
    struct comb comb;
    struct numbers numbers[COMB_MOST];
    struct p256_point key[TABLES_KEPT];
    struct p256_table *table[TABLES_KEPT]; /* the first `count` are there */
    size_t count, next;                    /* the place of the next one, which may be that of the oldest */
};

/* Returns tables that no other call uses, or NULL if there is no memory or the processor lacks an instruction. To be given back. */
struct kept_tables *tables_take(void);
void tables_give(struct kept_tables *tables);
/* Sets the table of a key in `comb`; returns 0 if there is no memory. */
int tables_open(struct kept_tables *tables, const struct p256_point *key);

#endif
