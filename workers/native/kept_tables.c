#include "kept_tables.h"

#include <stdlib.h>
#include <string.h>

static struct p256_table *of_generator; /* made at the first need, and kept; NULL: not yet */
static struct kept_tables *kept;        /* NULL: not yet, or a call has taken them */

/* Returns the generator's table, or NULL if there is no memory. Of two threads that make it at once, one throws its own away. */
static const struct p256_table *generator_table(void)
{
    static const struct p256_point generator = {
        {0xf4a13945d898c296, 0x77037d812deb33a0, 0xf8bce6e563a440f2, 0x6b17d1f2e12c4247},
        {0xcbb6406837bf51f5, 0x2bce33576b315ece, 0x8ee7eb4a7c0f9e16, 0x4fe342e2fe1a7f9b},
    };
    struct p256_table *table = __atomic_load_n(&of_generator, __ATOMIC_ACQUIRE), *none = NULL;
    if (table) {
        return table;
    }
    table = aligned_alloc(64, sizeof *table);
    if (!table || !p256_table_make(table, &generator)) {
        free(table);
        return NULL;
    }
    if (!__atomic_compare_exchange_n(&of_generator, &none, table, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        free(table);
        return none;
    }
    return table;
}

struct kept_tables *tables_take(void)
{
    const struct p256_table *generator = p256_table_applicable() ? generator_table() : NULL;
    struct kept_tables *tables = generator ? __atomic_exchange_n(&kept, NULL, __ATOMIC_ACQ_REL) : NULL;
    if (generator && !tables && (tables = aligned_alloc(64, sizeof *tables))) {
        tables->comb.of_generator = generator;
        tables->count = tables->next = 0;
    }
    return tables;
}

void tables_give(struct kept_tables *tables)
{
    struct kept_tables *other = __atomic_exchange_n(&kept, tables, __ATOMIC_ACQ_REL);
    if (other) { /* of a call at the same time */
        for (size_t i = 0; i < other->count; i++) {
            free(other->table[i]);
        }
        free(other);
    }
}

int tables_open(struct kept_tables *tables, const struct p256_point *key)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (!memcmp(tables->key + i, key, sizeof *key)) {
            tables->comb.of_key = tables->table[i];
            return 1;
        }
    }
    const size_t at = tables->next;
    if (at == tables->count) {
        if (!(tables->table[at] = aligned_alloc(64, sizeof *tables->table[at]))) {
            return 0;
        }
        tables->count++;
    }
    memset(tables->key + at, 0, sizeof *key); /* on no curve: the table is of no key until it is made */
    if (!p256_table_make(tables->table[at], key)) {
        return 0;
    }
    tables->key[at] = *key;
    tables->comb.of_key = tables->table[at];
    tables->next = (at + 1) % TABLES_KEPT;
    return 1;
}
