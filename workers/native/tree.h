/* Roots of trees of RFC 6962 over the rows of batches: what vaultstream.proof.statement and .merkle compute in Python. */
#ifndef VS_TREE_H
#define VS_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"
#include "sign.h"

/* What a record's leaf is made of. */
struct leaf {
    struct text id, digest, signature;
};

/* Writes the hashes of records' leaves. No id has 4 GiB. */
void leaf_hashes(uint8_t (*hashes)[SHA256_BYTES], const struct leaf *leaves, size_t count);

/* A leaf's data before the id: the octet of leaves, and the id's length. */
#define LEAF_HEAD 5
/* Longer leaves, with signatures of RSA and ML-DSA or with long ids, are hashed one after the other. */
#define LEAF_ROOM (4 * SHA256_BLOCK)
/* Writes what is hashed of a leaf of so many blocks, padded, and up to 128 bytes more. Only called where the processor has AVX-512. */
void leaf_write_wide(uint8_t *to, const struct leaf *leaf, size_t blocks);

/* The length of the signature in a row, or -1 if it does not fit into the row's width. */
int signature_in(const uint8_t *row, size_t width);

/* The longest text of a number of 64 bits, with its sign. */
#define ID_TEXT 20
/* Writes a number as decimal text that ends with the buffer; returns where it begins. */
const char *id_text(char buffer[ID_TEXT], int64_t number);

/* Writes the root over the hashes of leaves, which it overwrites. */
void tree_root(uint8_t root[SHA256_BYTES], uint8_t (*level)[SHA256_BYTES], size_t count);

#endif
