#include "module.h"
#include "tree.h"

/* Batches of records: their leaves, one batch after the other, and what the leaves point to. */
struct forest {
    Py_ssize_t size, groups;
    PyObject **ids; /* of each batch, a tuple */
    Py_buffer *rows;
    Py_ssize_t *counts;
    struct leaf *leaves;
    char (*numbers)[ID_TEXT];
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
    PyMem_Free(forest->leaves);
    PyMem_Free(forest->numbers);
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
    forest->leaves = PyMem_Calloc(count, sizeof *forest->leaves);
    forest->numbers = PyMem_Malloc(count * sizeof *forest->numbers);
    forest->hashes = PyMem_Malloc(count * sizeof *forest->hashes);
    if (!forest->leaves || !forest->numbers || !forest->hashes) {
        PyErr_NoMemory();
        return 0;
    }
    return 1;
}

/* Where the texts of ids are: in their objects, or, of numbers, in memory of its own. Returns whether all are ids. */
static int fill_ids(struct forest *forest)
{
    struct leaf *leaf = forest->leaves;
    char (*text)[ID_TEXT] = forest->numbers;
    for (Py_ssize_t group = 0; group < forest->groups; group++) {
        for (Py_ssize_t i = 0; i < forest->counts[group]; i++, leaf++, text++) {
            PyObject *id = PyTuple_GetItem(forest->ids[group], i);
            Py_ssize_t length = 0;
            const char *data = NULL;
            if (PyLong_CheckExact(id)) {
                long long number = PyLong_AsLongLong(id);
                if (number == -1 && PyErr_Occurred()) {
                    return 0;
                }
                data = id_text(*text, number);
                length = *text + ID_TEXT - data;
            } else if (PyUnicode_Check(id)) {
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
            leaf->id = (struct text){(const uint8_t *)data, (size_t)length};
        }
    }
    return 1;
}

static int fill_rows(struct forest *forest, size_t width)
{
    struct leaf *leaf = forest->leaves;
    for (Py_ssize_t group = 0; group < forest->groups; group++) {
        const Py_buffer *rows = forest->rows + group;
        if ((size_t)rows->len % width || (size_t)rows->len / width != (size_t)forest->counts[group]) {
            return 0;
        }
        const uint8_t *row = rows->buf;
        for (Py_ssize_t i = 0; i < forest->counts[group]; i++, leaf++, row += width) {
            int signature = signature_in(row, width);
            if (signature < 0) {
                return 0;
            }
            leaf->digest = (struct text){row, SHA256_BYTES};
            leaf->signature = (struct text){row + ROW_HEAD, (size_t)signature};
        }
    }
    return 1;
}

/* Computes the roots, without the GIL. */
static void find_roots(struct forest *forest)
{
    const struct leaf *leaves = forest->leaves;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t group = 0; group < forest->groups; group++) {
        size_t count = (size_t)forest->counts[group];
        leaf_hashes(forest->hashes, leaves, count);
        tree_root(forest->roots[group], forest->hashes, count);
        leaves += count;
    }
    Py_END_ALLOW_THREADS
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
    if (!fill_rows(&forest, (size_t)width)) {
        PyErr_SetString(PyExc_ValueError, "There must be a whole row of that width for each id.");
        goto end;
    }
    find_roots(&forest);
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
    for (Py_ssize_t i = 0; i < forest.size; i++) {
        forest.leaves[i].digest = digest[i];
        forest.leaves[i].signature = signature[i];
    }
    find_roots(&forest);
    root = PyBytes_FromStringAndSize((const char *)forest.roots[0], SHA256_BYTES);
end:
    end_forest(&forest);
    PyMem_Free(digest);
    PyMem_Free(signature);
    Py_XDECREF(of_digests);
    Py_XDECREF(of_signatures);
    return root;
}
