/* Integers in memory, in an order that does not depend on the processor's. */
#ifndef VS_BYTES_H
#define VS_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t load_be32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return __builtin_bswap32(word);
}

static inline uint64_t load_be64(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return __builtin_bswap64(word);
}

static inline void store_be32(uint8_t *to, uint32_t word)
{
    word = __builtin_bswap32(word);
    memcpy(to, &word, sizeof word);
}

static inline void store_be64(uint8_t *to, uint64_t word)
{
    word = __builtin_bswap64(word);
    memcpy(to, &word, sizeof word);
}

#endif
