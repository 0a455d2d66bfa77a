#include <string.h>

#include "audit.h"
#include "module.h"

#define STATED_BYTES 56 /* of a batch: the number of its records, key_no, epoch, signed_at, the place of its key, the root */

/* Reads ids of 64 bits in a bytes object; returns whether they ascend. */
static int open_ids(struct ids *ids, PyObject *bytes)
{
    Py_ssize_t length = PyBytes_Size(bytes);
    *ids = (struct ids){(const uint8_t *)PyBytes_AsString(bytes), (size_t)length / sizeof(int64_t), 0};
    if ((size_t)length % sizeof(int64_t) || !ids_ascend(ids)) {
        PyErr_SetString(PyExc_ValueError, "The ids must be integers of 64 bits in ascending order.");
        return 0;
    }
    return 1;
}

PyObject *module_audit_payloads(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *of_ids, *copied, *digests, *without, *pair = NULL;
    struct ids ids;
    if (!PyArg_ParseTuple(arguments, "SS:audit_payloads", &of_ids, &copied) || !open_ids(&ids, of_ids)) {
        return NULL;
    }
    digests = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(ids.count * SHA256_BYTES));
    without = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)ids.count);
    if (digests && without) {
        uint8_t (*into)[SHA256_BYTES] = (uint8_t (*)[SHA256_BYTES])PyBytes_AsString(digests);
        uint8_t *flags = (uint8_t *)PyBytes_AsString(without);
        const uint8_t *rows = (const uint8_t *)PyBytes_AsString(copied);
        size_t length = (size_t)PyBytes_Size(copied);
        enum outcome outcome;
        memset(flags, 0, ids.count);
        Py_BEGIN_ALLOW_THREADS
        outcome = audit_payloads(into, flags, &ids, rows, length);
        Py_END_ALLOW_THREADS
        pair = outcome == DONE ? PyTuple_Pack(2, digests, without) : PyErr_NoMemory();
    }
    Py_XDECREF(digests);
    Py_XDECREF(without);
    return pair;
}

PyObject *module_audit_known(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *of_ids, *copied;
    struct ids ids;
    int known;
    if (!PyArg_ParseTuple(arguments, "SS:audit_known", &of_ids, &copied) || !open_ids(&ids, of_ids)) {
        return NULL;
    }
    const uint8_t *rows = (const uint8_t *)PyBytes_AsString(copied);
    size_t length = (size_t)PyBytes_Size(copied);
    Py_BEGIN_ALLOW_THREADS
    known = audit_known(&ids, rows, length);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(known);
}

/* Reads what was stated of each batch; returns whether the keys are there and the batches have all records. */
static int open_batches(struct stated_batch *batches, const struct audit *audit, const uint8_t *stated)
{
    size_t first = 0;
    for (size_t i = 0; i < audit->count; i++, stated += STATED_BYTES) {
        struct stated_batch *batch = batches + i;
        uint32_t records, key;
        memcpy(&records, stated, 4);
        memcpy(&batch->key_no, stated + 4, 4);
        memcpy(&batch->epoch, stated + 8, 4);
        memcpy(&batch->signed_at, stated + 12, 8);
        memcpy(&key, stated + 20, 4);
        memcpy(batch->root, stated + 24, SHA256_BYTES);
        batch->first = first;
        batch->count = records;
        batch->key = key;
        if (key >= audit->keys || records > audit->ids.count - first) {
            return 0;
        }
        first += records;
    }
    return first == audit->ids.count;
}

static int open_points(struct p256_point *points, const struct text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!p256_point_open(points + i, texts[i].data, texts[i].length)) {
            return 0;
        }
    }
    return 1;
}

PyObject *module_audit_batches(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *of_ids, *of_stated, *of_points, *digests, *copied, *held = NULL, *plain = NULL;
    struct audit audit = {0};
    struct text *texts = NULL;
    struct stated_batch *batches = NULL;
    struct p256_point *points = NULL;
    Py_ssize_t keys;
    enum outcome outcome;

    if (!PyArg_ParseTuple(arguments, "SSOSS:audit_batches", &of_ids, &of_stated, &of_points, &digests, &copied) ||
        !open_ids(&audit.ids, of_ids) || !(held = texts_of(of_points, "points", &texts, &keys))) {
        return NULL;
    }
    size_t records = audit.ids.count, size = (size_t)PyBytes_Size(of_stated);
    audit.count = size / STATED_BYTES;
    audit.keys = (size_t)keys;
    if (size % STATED_BYTES || (size_t)PyBytes_Size(digests) != records * SHA256_BYTES || audit.count >= UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "There must be 56 bytes for each batch, and a digest for each id.");
        goto end;
    }
    batches = PyMem_Calloc(audit.count + 1, sizeof *batches);
    points = PyMem_Calloc(audit.keys + 1, sizeof *points);
    if (!batches || !points) {
        PyErr_NoMemory();
        goto end;
    }
    if (!open_points(points, texts, audit.keys) ||
        !open_batches(batches, &audit, (const uint8_t *)PyBytes_AsString(of_stated))) {
        PyErr_SetString(PyExc_ValueError, "A public key is no uncompressed point on P-256, or the batches must be of them and of all ids.");
        goto end;
    }
    if (!(plain = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)audit.count))) {
        goto end;
    }
    audit.digests = (const uint8_t (*)[SHA256_BYTES])PyBytes_AsString(digests);
    audit.batches = batches;
    audit.points = points;
    uint8_t *answers = (uint8_t *)PyBytes_AsString(plain);
    const uint8_t *rows = (const uint8_t *)PyBytes_AsString(copied);
    size_t length = (size_t)PyBytes_Size(copied);
    Py_BEGIN_ALLOW_THREADS
    outcome = audit_batches(answers, &audit, rows, length);
    Py_END_ALLOW_THREADS
    if (outcome != DONE) {
        Py_CLEAR(plain);
        raise_outcome(outcome);
    }
end:
    PyMem_Free(texts);
    PyMem_Free(batches);
    PyMem_Free(points);
    Py_DECREF(held);
    return plain;
}
