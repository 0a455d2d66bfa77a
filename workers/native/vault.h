/* Memory for private keys: never swapped or dumped where the kernel allows it, and wiped when a key is given back.
 *
 * A page holds many keys, because the kernel limits how many pages a user may lock. Not safe for two threads at a time.
 */
#ifndef VS_VAULT_H
#define VS_VAULT_H

#include <stdint.h>

#define VAULT_SLOT 64

struct vault_page;

struct vault {
    struct vault_page *pages;
};

/* Returns a slot of VAULT_SLOT bytes of zeros, or NULL if there is no memory. */
void *vault_take(struct vault *vault);
/* Wipes a slot and takes it back. */
void vault_give(struct vault *vault, void *slot);
/* Wipes and frees everything. */
void vault_close(struct vault *vault);

#endif
