#include "audit.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "sha256_lanes.h"
#include "tree.h"

enum field { ID, KEY_NO, EPOCH, SIGNED_AT, DIGEST, SIGNATURE, FIELDS };

/* Reads an id; returns whether it is one. */
static int open_id(int64_t *id, const struct text *field)
{
    if (field->length != sizeof *id) {
        return 0;
    }
    *id = (int64_t)load_be64(field->data);
    return 1;
}

enum outcome audit_payloads(uint8_t (*digests)[SHA256_BYTES], uint8_t *without, struct ids *ids, const uint8_t *copied,
                            size_t length)
{
    struct text *payloads = calloc(ids->count + 1, sizeof *payloads), fields[2];
    struct copied_rows rows;
    enum copied next = COPIED_MALFORMED;
    if (!payloads) {
        return LANE_FAILED;
    }
    if (copied_open(&rows, copied, length)) {
        while ((next = copied_next(&rows, fields, 2)) == COPIED_ROW) {
            int64_t id;
            if (!open_id(&id, fields)) {
                next = COPIED_MALFORMED;
                break;
            }
            size_t place = id_place(ids, id);
            if (place < ids->count) {
                without[place] = payloads[place].data || !fields[1].data;
                payloads[place] = fields[1].data ? fields[1] : (struct text){copied, 0}; /* so that a second row is seen */
            }
        }
    }
    for (size_t i = 0; i < ids->count; i++) {
        without[i] |= next != COPIED_END || !payloads[i].data;
    }
    sha256_many(digests, payloads, ids->count);
    free(payloads);
    return DONE;
}

/* What a check of batches holds. */
struct work {
    struct leaf *leaves; /* one for each id; without a row, its signature has no data */
    char (*texts)[ID_TEXT];
    uint8_t (*hashes)[SHA256_BYTES];
    uint32_t *batch_of;
    struct to_verify *items;
    uint32_t *batch_of_item, *order;
    size_t *start; /* of each key's batches in `order` */
    uint8_t *answers;
};

static void end_work(struct work *work)
{
    free(work->leaves);
    free(work->texts);
    free(work->hashes);
    free(work->batch_of);
    free(work->items);
    free(work->batch_of_item);
    free(work->order);
    free(work->start);
    free(work->answers);
}

static int begin_work(struct work *work, const struct audit *audit)
{
    size_t records = audit->ids.count + 1, batches = audit->count + 1;
    work->leaves = calloc(records, sizeof *work->leaves);
    work->texts = malloc(records * sizeof *work->texts);
    work->hashes = malloc(records * sizeof *work->hashes);
    work->batch_of = malloc(records * sizeof *work->batch_of);
    work->items = malloc(records * sizeof *work->items);
    work->batch_of_item = malloc(records * sizeof *work->batch_of_item);
    work->order = malloc(batches * sizeof *work->order);
    work->start = calloc(audit->keys + 2, sizeof *work->start);
    work->answers = malloc(records);
    return work->leaves && work->texts && work->hashes && work->batch_of && work->items && work->batch_of_item &&
           work->order && work->start && work->answers;
}

static int64_t number_in(const struct text *field)
{
    return field->length == 8 ? (int64_t)load_be64(field->data) : (int32_t)load_be32(field->data);
}

/* Puts each row to its id, and finds batches that have another row than was stated. Returns whether the rows are well-formed. */
static int place_rows(struct work *work, uint8_t *plain, struct audit *audit, const uint8_t *copied, size_t length)
{
    static const size_t sizes[DIGEST] = {8, 4, 4, 8};
    struct copied_rows rows;
    struct text fields[FIELDS];
    enum copied next;
    if (!copied_open(&rows, copied, length)) {
        return 0;
    }
    while ((next = copied_next(&rows, fields, FIELDS)) == COPIED_ROW) {
        for (int i = 0; i < DIGEST; i++) {
            if (fields[i].length != sizes[i]) {
                return 0;
            }
        }
        size_t place = id_place(&audit->ids, number_in(fields + ID));
        if (place == audit->ids.count) {
            continue;
        }
        struct leaf *leaf = work->leaves + place;
        uint8_t *of_batch = plain + work->batch_of[place];
        const struct stated_batch *batch = audit->batches + work->batch_of[place];
        int as_stated = number_in(fields + KEY_NO) == batch->key_no && number_in(fields + EPOCH) == batch->epoch &&
                        number_in(fields + SIGNED_AT) == batch->signed_at;
        int of_payload = fields[DIGEST].length == SHA256_BYTES && fields[SIGNATURE].data &&
                         !memcmp(fields[DIGEST].data, audit->digests[place], SHA256_BYTES);
        if (leaf->signature.data || !as_stated || !of_payload) {
            *of_batch = 0;
        }
        leaf->digest = fields[DIGEST];
        leaf->signature = fields[SIGNATURE];
    }
    return next == COPIED_END;
}

/* Computes the root over the records of a batch that all have a row; returns whether it is the one that was stated. */
static int has_root(struct work *work, const struct audit *audit, const struct stated_batch *batch)
{
    struct leaf *leaves = work->leaves + batch->first;
    uint8_t root[SHA256_BYTES];
    for (size_t i = 0; i < batch->count; i++) {
        if (!leaves[i].signature.data) {
            return 0;
        }
        char *text = work->texts[batch->first + i];
        const char *at = id_text(text, id_at(&audit->ids, batch->first + i));
        leaves[i].id = (struct text){(const uint8_t *)at, (size_t)(text + ID_TEXT - at)};
    }
    leaf_hashes(work->hashes, leaves, batch->count);
    tree_root(root, work->hashes, batch->count);
    return !memcmp(root, batch->root, sizeof root);
}

/* Sorts the batches by their keys, so that a table of a key's multiples serves all of them. */
static void sort_by_key(struct work *work, const struct audit *audit)
{
    for (size_t i = 0; i < audit->count; i++) {
        work->start[audit->batches[i].key + 1]++;
    }
    for (size_t key = 0; key < audit->keys; key++) {
        work->start[key + 1] += work->start[key];
    }
    for (size_t i = 0; i < audit->count; i++) {
        work->order[work->start[audit->batches[i].key]++] = (uint32_t)i;
    }
}

static enum outcome verify_batches(struct work *work, uint8_t *plain, const struct audit *audit)
{
    size_t items = 0;
    sort_by_key(work, audit);
    for (size_t i = 0; i < audit->count; i++) {
        const struct stated_batch *batch = audit->batches + work->order[i];
        for (size_t j = 0; plain[work->order[i]] && j < batch->count; j++) {
            const struct leaf *leaf = work->leaves + batch->first + j;
            work->items[items] = (struct to_verify){leaf->digest, leaf->signature, audit->points + batch->key};
            work->batch_of_item[items++] = work->order[i];
        }
    }
    enum outcome outcome = verify_all(work->answers, work->items, items);
    for (size_t i = 0; i < items; i++) {
        plain[work->batch_of_item[i]] &= work->answers[i];
    }
    return outcome;
}

enum outcome audit_batches(uint8_t *plain, struct audit *audit, const uint8_t *copied, size_t length)
{
    struct work work = {0};
    enum outcome outcome = LANE_FAILED;
    memset(plain, 1, audit->count);
    if (!begin_work(&work, audit)) {
        memset(plain, 0, audit->count);
    } else {
        for (size_t i = 0; i < audit->count; i++) {
            for (size_t j = 0; j < audit->batches[i].count; j++) {
                work.batch_of[audit->batches[i].first + j] = (uint32_t)i;
            }
        }
        outcome = DONE;
        if (place_rows(&work, plain, audit, copied, length)) {
            for (size_t i = 0; i < audit->count; i++) {
                plain[i] = plain[i] && has_root(&work, audit, audit->batches + i);
            }
            outcome = verify_batches(&work, plain, audit);
        } else {
            memset(plain, 0, audit->count);
        }
    }
    if (outcome != DONE) {
        memset(plain, 0, audit->count);
    }
    end_work(&work);
    return outcome;
}

int audit_known(struct ids *ids, const uint8_t *copied, size_t length)
{
    struct copied_rows rows;
    struct text field;
    enum copied next = COPIED_MALFORMED;
    size_t seen = 0;
    if (copied_open(&rows, copied, length)) {
        while ((next = copied_next(&rows, &field, 1)) == COPIED_ROW) {
            int64_t id;
            if (++seen > ids->count || !open_id(&id, &field) || id_place(ids, id) == ids->count) {
                return 0;
            }
        }
    }
    return next == COPIED_END;
}
