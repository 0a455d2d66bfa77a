#include "module.h"
#include "sha256_lanes.h"
#include "tree.h"

/* Batches of records, one batch after the other. Leaves are made sixteen at a time: all of them would not stay in the cache. */
struct forest {
    Py_ssize_t size, groups;
    PyObject **ids; /* of each batch, a tuple */
    Py_buffer *rows;
    Py_ssize_t *counts;
    struct text *texts; /* of the ids; of a number there is no text, and its length is the number */
    uint8_t (*hashes)[SHA256_BYTES], (*roots)[SHA256_BYTES];
};

static void end_forest(struct forest *forest)
{
    for (Py_ssize_t i = 0; i < forest->groups; i++) {
        if (forest->ids) {
            Py_XDECREF(forest->ids[i]);
        }
        if (forest->rows && forest->rows[i].obj) {
            PyBuffer_Release(forest->rows + i);
        }
    }
    PyMem_Free(forest->ids);
    PyMem_Free(forest->rows);
    PyMem_Free(forest->counts);
    PyMem_Free(forest->texts);
    PyMem_Free(forest->hashes);
    PyMem_Free(forest->roots);
}

/* Makes room for the batches. */
static int open_groups(struct forest *forest, Py_ssize_t groups)
{
    size_t count = (size_t)groups + 1; /* none is no failure */
    forest->groups = groups;
    forest->ids = PyMem_Calloc(count, sizeof *forest->ids);
    forest->rows = PyMem_Calloc(count, sizeof *forest->rows);
    forest->counts = PyMem_Calloc(count, sizeof *forest->counts);
    forest->roots = PyMem_Calloc(count, sizeof *forest->roots);
    if (!forest->ids || !forest->rows || !forest->counts || !forest->roots) {
        PyErr_NoMemory();
        return 0;
    }
    return 1;
}

/* Takes the ids of a batch, of which no other code can change the number from then on. */
static int take_ids(struct forest *forest, Py_ssize_t group, PyObject *ids)
{
    if (!(forest->ids[group] = PySequence_Tuple(ids))) {
        return 0;
    }
    forest->counts[group] = PyTuple_Size(forest->ids[group]);
    forest->size += forest->counts[group];
    return 1;
}

/* Makes room for the records of all batches. */
static int open_leaves(struct forest *forest)
{
    size_t count = (size_t)forest->size + 1;
    forest->texts = PyMem_Malloc(count * sizeof *forest->texts);
    forest->hashes = PyMem_Malloc(count * sizeof *forest->hashes);
    if (!forest->texts || !forest->hashes) {
        PyErr_NoMemory();
        return 0;
    }
    return 1;
}

/* Where the texts of ids are, which the tuples hold. Returns whether all are ids. */
static int fill_ids(struct forest *forest)
{
    struct text *text = forest->texts;
    for (Py_ssize_t group = 0; group < forest->groups; group++) {
        for (Py_ssize_t i = 0; i < forest->counts[group]; i++, text++) {
            PyObject *id = PyTuple_GetItem(forest->ids[group], i);
            Py_ssize_t length = 0;
            const char *data = NULL;
            if (PyLong_CheckExact(id)) {
                long long number = PyLong_AsLongLong(id);
                if (number == -1 && PyErr_Occurred()) {
                    return 0;
                }
                *text = (struct text){NULL, (size_t)number};
                continue;
            }
            if (PyUnicode_Check(id)) {
                data = PyUnicode_AsUTF8AndSize(id, &length);
            } else if (PyBytes_Check(id)) {
                data = PyBytes_AsString(id);
                length = PyBytes_Size(id);
            } else {
                PyErr_SetString(PyExc_TypeError, "The ids must be integers, texts or bytes objects.");
            }
            if (!data) {
                return 0;
            }
            if ((uint64_t)length > UINT32_MAX) {
                PyErr_SetString(PyExc_ValueError, "An id of 4 GiB or more has no leaf.");
                return 0;
            }
            *text = (struct text){(const uint8_t *)data, (size_t)length};
        }
    }
    return 1;
}

/* Whether there is a whole row of that width for each id. */
static int has_rows(const struct forest *forest, size_t width)
{
    for (Py_ssize_t group = 0; group < forest->groups; group++) {
        const Py_buffer *rows = forest->rows + group;
        if ((size_t)rows->len % width || (size_t)rows->len / width != (size_t)forest->counts[group]) {
            return 0;
        }
    }
    return 1;
}

/* What a batch's leaves are made of, besides the ids: rows, or else digests and signatures. */
struct signed_records {
    const uint8_t *rows;
    size_t width;
    const struct text *digests, *signatures;
};

/* Writes the hashes of a batch's leaves; returns whether each row has its signature. */
static int hash_leaves(uint8_t (*hashes)[SHA256_BYTES], const struct text *ids, const struct signed_records *records, size_t count)
{
    struct leaf leaves[HASH_LANES];
    char numbers[HASH_LANES][ID_TEXT];
    for (size_t first = 0, held; first < count; first += held) {
        for (held = 0; held < HASH_LANES && first + held < count; held++) {
            const size_t at = first + held;
            struct leaf *leaf = leaves + held;
            if (records->rows) {
                const uint8_t *row = records->rows + at * records->width;
                const int size = signature_in(row, records->width);
                if (size < 0) {
                    return 0;
                }
                leaf->digest = (struct text){row, SHA256_BYTES};
                leaf->signature = (struct text){row + ROW_HEAD, (size_t)size};
            } else {
                leaf->digest = records->digests[at];
                leaf->signature = records->signatures[at];
            }
            leaf->id = ids[at];
            if (!leaf->id.data) {
                const char *text = id_text(numbers[held], (int64_t)ids[at].length);
                leaf->id = (struct text){(const uint8_t *)text, (size_t)(numbers[held] + ID_TEXT - text)};
            }
        }
        leaf_hashes(hashes + first, leaves, held);
    }
    return 1;
}

/* Computes the roots over rows, without the GIL; returns whether each row has its signature. */
static int find_roots(struct forest *forest, size_t width)
{
    const struct text *ids = forest->texts;
    int whole = 1;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t group = 0; group < forest->groups && whole; group++) {
        const size_t count = (size_t)forest->counts[group];
        const struct signed_records records = {forest->rows[group].buf, width, NULL, NULL};
        whole = hash_leaves(forest->hashes, ids, &records, count);
        if (whole) {
            tree_root(forest->roots[group], forest->hashes, count);
        }
        ids += count;
    }
    Py_END_ALLOW_THREADS
    return whole;
}

PyObject *module_roots(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct forest forest = {0};
    PyObject *ids, *rows, *of_ids = NULL, *of_rows = NULL, *list = NULL;
    Py_ssize_t width;

    if (!PyArg_ParseTuple(arguments, "OOn:roots", &ids, &rows, &width)) {
        return NULL;
    }
    if (!(of_ids = PySequence_Tuple(ids)) || !(of_rows = PySequence_Tuple(rows)) ||
        !open_groups(&forest, PyTuple_Size(of_ids))) {
        goto end;
    }
    if (width < ROW_HEAD || width > WIDEST_ROW || PyTuple_Size(of_rows) != forest.groups) {
        PyErr_SetString(PyExc_ValueError, "There must be rows of 34 to 65536 bytes for the ids of each batch.");
        goto end;
    }
    for (Py_ssize_t i = 0; i < forest.groups; i++) {
        if (!take_ids(&forest, i, PyTuple_GetItem(of_ids, i)) ||
            PyObject_GetBuffer(PyTuple_GetItem(of_rows, i), forest.rows + i, PyBUF_SIMPLE)) {
            goto end;
        }
    }
    if (!open_leaves(&forest) || !fill_ids(&forest)) {
        goto end;
    }
    if (!has_rows(&forest, (size_t)width) || !find_roots(&forest, (size_t)width)) {
        PyErr_SetString(PyExc_ValueError, "There must be a whole row of that width for each id.");
        goto end;
    }
    list = list_of(forest.roots, forest.groups);
end:
    end_forest(&forest);
    Py_XDECREF(of_ids);
    Py_XDECREF(of_rows);
    return list;
}

PyObject *module_root(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct forest forest = {0};
    struct text *digest = NULL, *signature = NULL;
    PyObject *ids, *digests, *signatures, *of_digests = NULL, *of_signatures = NULL, *root = NULL;
    Py_ssize_t with_digest, with_signature;

    if (!PyArg_ParseTuple(arguments, "OOO:root", &ids, &digests, &signatures)) {
        return NULL;
    }
    if (!open_groups(&forest, 1) || !take_ids(&forest, 0, ids) ||
        !(of_digests = texts_of(digests, "digests", &digest, &with_digest)) ||
        !(of_signatures = texts_of(signatures, "signatures", &signature, &with_signature)) || !open_leaves(&forest) ||
        !fill_ids(&forest)) {
        goto end;
    }
    if (with_digest != forest.size || with_signature != forest.size) {
        PyErr_SetString(PyExc_ValueError, "There must be a digest and a signature for each id.");
        goto end;
    }
    const struct signed_records records = {NULL, 0, digest, signature};
    Py_BEGIN_ALLOW_THREADS
    (void)hash_leaves(forest.hashes, forest.texts, &records, (size_t)forest.size);
    tree_root(forest.roots[0], forest.hashes, (size_t)forest.size);
    Py_END_ALLOW_THREADS
    root = PyBytes_FromStringAndSize((const char *)forest.roots[0], SHA256_BYTES);
end:
    end_forest(&forest);
    PyMem_Free(digest);
    PyMem_Free(signature);
    Py_XDECREF(of_digests);
    Py_XDECREF(of_signatures);
    return root;
}
