/* Wiping of secrets. */
#ifndef VS_WIPE_H
#define VS_WIPE_H

#include <stddef.h>

/* Overwrites memory; no compiler leaves this out. */
void wipe(void *memory, size_t length);

/* Overwrites what functions that have returned left on the stack and in the vector registers: the library leaves points there,
 * whose coordinates tell something about nonces. Only where the processor has AVX-512.
 */
void wipe_traces(void);
/* The same after functions that don't call the library, such as SHA-256, on any processor. */
void wipe_plain_traces(void);

#endif
