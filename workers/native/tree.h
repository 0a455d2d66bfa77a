/* Roots of trees of RFC 6962 over the rows of batches: what vaultstream.proof.statement and .merkle compute in Python. */
#ifndef VS_TREE_H
#define VS_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"
#include "sign.h"

/* Writes the hash of a record's leaf. The signature's length in the row must be right: see signature_in. */
void leaf_hash(uint8_t hash[SHA256_BYTES], const struct text *id, const uint8_t *row);

/* The length of the signature in a row, or -1 if it does not fit into the row's width. */
int signature_in(const uint8_t *row, size_t width);

/* Writes the root over the hashes of leaves, which it overwrites. */
void tree_root(uint8_t root[SHA256_BYTES], uint8_t (*level)[SHA256_BYTES], size_t count);

#endif
