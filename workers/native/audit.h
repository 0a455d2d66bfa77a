/* Checks what was signed in bulk: payloads and signatures as Postgres has sent them, against what the batches' keys stated.
 *
 * The answers are yes or no. What is wrong with a batch that is not plain, others find out.
 */
#ifndef VS_AUDIT_H
#define VS_AUDIT_H

#include <stddef.h>
#include <stdint.h>

#include "copied.h"
#include "sha256.h"
#include "verify.h"

/* Writes the SHA-256 of the payload of each id, and 1 for each id without one row that has a payload, else 0. The rows have an id and a
 * payload, in any order; those of other ids do not count. Returns DONE, or LANE_FAILED if there is no memory.
 *
 * If the rows are malformed, all ids are without. */
enum outcome audit_payloads(uint8_t (*digests)[SHA256_BYTES], uint8_t *without, struct ids *ids, const uint8_t *copied,
                            size_t length);

/* What a batch's key stated of its records, and the key. */
struct stated_batch {
    size_t first, count; /* places of ids */
    int32_t key_no, epoch;
    int64_t signed_at; /* as Postgres has it */
    size_t key;        /* the place of its point */
    uint8_t root[SHA256_BYTES];
};

struct audit {
    struct ids ids; /* ascending */
    const uint8_t (*digests)[SHA256_BYTES]; /* of the payloads */
    const struct stated_batch *batches; /* their records are all ids, one batch after the other */
    size_t count;
    const struct p256_point *points;
    size_t keys;
};

/* Writes 1 for each plain batch, else 0. A batch is plain if each of its ids has one row, with the key, the epoch and the time that were
 * stated, the payload's digest, and a valid signature with a low s; and if the root over its records is the one that was stated.
 *
 * The rows have an id, key_no, epoch, signed_at, digest and signature. Those of other ids do not count. If they are malformed, no batch is
 * plain. */
enum outcome audit_batches(uint8_t *plain, struct audit *audit, const uint8_t *copied, size_t length);

/* Whether rows that have an id, and may be NULL, are all of these ids. */
int audit_known(struct ids *ids, const uint8_t *copied, size_t length);

#endif
