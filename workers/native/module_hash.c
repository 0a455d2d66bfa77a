#include "module.h"
#include "tree.h"

/* Returns a list of the hashes, or NULL. */
static PyObject *list_of(uint8_t (*hashes)[SHA256_BYTES], Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *hash = PyBytes_FromStringAndSize((const char *)hashes[i], SHA256_BYTES);
        if (!hash || PyList_SetItem(list, i, hash)) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyObject *module_sha256(PyObject *module, PyObject *payloads)
{
    (void)module;
    struct text *texts = NULL;
    Py_ssize_t size;
    PyObject *tuple = texts_of(payloads, "payloads", &texts, &size), *hashes = NULL;
    if (!tuple) {
        return NULL;
    }
    uint8_t (*found)[SHA256_BYTES] = PyMem_Calloc(size ? (size_t)size : 1, sizeof *found);
    if (found) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < size; i++) {
            sha256_once(texts[i].data, texts[i].length, found[i]);
        }
        Py_END_ALLOW_THREADS
        hashes = list_of(found, size);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(found);
    PyMem_Free(texts);
    Py_DECREF(tuple);
    return hashes;
}

/* The longest text of a number of 64 bits, with its sign. */
#define LONGEST_NUMBER 20

/* Where the texts of ids are: in their objects, or, of numbers, in memory of its own. Returns whether all are ids. */
static int id_texts(struct text *texts, char (*numbers)[LONGEST_NUMBER + 1], PyObject *ids, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *id = PyTuple_GetItem(ids, i);
        Py_ssize_t length = 0;
        const char *data = NULL;
        if (PyLong_CheckExact(id)) {
            long long number = PyLong_AsLongLong(id);
            if (number == -1 && PyErr_Occurred()) {
                return 0;
            }
            length = PyOS_snprintf(numbers[i], sizeof numbers[i], "%lld", number);
            data = numbers[i];
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
        texts[i] = (struct text){(const uint8_t *)data, (size_t)length};
    }
    return 1;
}

static int rows_fit(const uint8_t *rows, size_t width, const struct text *ids, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        if (ids[i].length > UINT32_MAX || signature_in(rows + (size_t)i * width, width) < 0) {
            return 0;
        }
    }
    return 1;
}

static void find_roots(uint8_t (*roots)[SHA256_BYTES], uint8_t (*leaves)[SHA256_BYTES], const struct text *ids,
                       const Py_ssize_t *counts, Py_ssize_t groups, const uint8_t *rows, size_t width)
{
    for (Py_ssize_t group = 0; group < groups; group++) {
        size_t count = (size_t)counts[group];
        for (size_t i = 0; i < count; i++, ids++, rows += width) {
            leaf_hash(leaves[i], ids, rows);
        }
        tree_root(roots[group], leaves, count);
    }
}

PyObject *module_roots(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *ids, *counts, *rows, *tuple, *list = NULL;
    Py_ssize_t width, size, groups, *count = NULL;
    struct text *id = NULL;
    char (*numbers)[LONGEST_NUMBER + 1] = NULL;
    uint8_t (*roots)[SHA256_BYTES] = NULL, (*leaves)[SHA256_BYTES] = NULL;

    if (!PyArg_ParseTuple(arguments, "OOSn:roots", &ids, &counts, &rows, &width) ||
        (groups = PySequence_Size(counts)) < 0 || !(tuple = PySequence_Tuple(ids))) {
        return NULL;
    }
    size = PyTuple_Size(tuple);
    id = PyMem_Calloc((size_t)size + 1, sizeof *id);
    numbers = PyMem_Calloc((size_t)size + 1, sizeof *numbers);
    leaves = PyMem_Calloc((size_t)size + 1, sizeof *leaves);
    roots = PyMem_Calloc((size_t)groups + 1, sizeof *roots);
    if (!id || !numbers || !leaves || !roots) {
        PyErr_NoMemory();
        goto end;
    }
    if (!(count = counts_of(counts, groups, size)) || !id_texts(id, numbers, tuple, size)) {
        goto end;
    }
    const uint8_t *first = (const uint8_t *)PyBytes_AsString(rows);
    if (width < ROW_HEAD || width > WIDEST_ROW || PyBytes_Size(rows) % width || PyBytes_Size(rows) / width != size ||
        !rows_fit(first, (size_t)width, id, size)) {
        PyErr_SetString(PyExc_ValueError, "There must be a whole row of that width for each id.");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    find_roots(roots, leaves, id, count, groups, first, (size_t)width);
    Py_END_ALLOW_THREADS
    list = list_of(roots, groups);
end:
    PyMem_Free(roots);
    PyMem_Free(leaves);
    PyMem_Free(numbers);
    PyMem_Free(count);
    PyMem_Free(id);
    Py_DECREF(tuple);
    return list;
}
