#include "module.h"

PyObject *texts_of(PyObject *sequence, const char *name, struct text **texts, Py_ssize_t *count)
{
    PyObject *tuple = PySequence_Tuple(sequence);
    if (!tuple) {
        return NULL;
    }
    Py_ssize_t size = PyTuple_Size(tuple);
    struct text *found = PyMem_Calloc(size ? (size_t)size : 1, sizeof *found);
    if (!found) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        char *data;
        Py_ssize_t length;
        PyObject *item = PyTuple_GetItem(tuple, i);
        if (!PyBytes_Check(item)) {
            PyErr_Format(PyExc_TypeError, "The %s must be bytes objects.", name);
            goto failed;
        }
        if (PyBytes_AsStringAndSize(item, &data, &length)) {
            goto failed;
        }
        found[i].data = (const uint8_t *)data;
        found[i].length = (size_t)length;
    }
    *texts = found;
    *count = size;
    return tuple;

failed:
    PyMem_Free(found);
    Py_DECREF(tuple);
    return NULL;
}

Py_ssize_t *counts_of(PyObject *sequence, Py_ssize_t groups, Py_ssize_t sum)
{
    PyObject *tuple = PySequence_Tuple(sequence);
    if (!tuple) {
        return NULL;
    }
    Py_ssize_t *counts = PyMem_Calloc(groups ? (size_t)groups : 1, sizeof *counts);
    if (!counts) {
        PyErr_NoMemory();
        goto failed;
    }
    if (PyTuple_Size(tuple) != groups) {
        PyErr_SetString(PyExc_ValueError, "There must be as many counts as groups.");
        goto failed;
    }
    for (Py_ssize_t i = 0; i < groups; i++) {
        counts[i] = PyLong_AsSsize_t(PyTuple_GetItem(tuple, i));
        if (counts[i] == -1 && PyErr_Occurred()) {
            goto failed;
        }
        if (counts[i] < 0 || counts[i] > sum) { /* so `sum` never overflows */
            break;
        }
        sum -= counts[i];
        if (i == groups - 1 && sum == 0) {
            Py_DECREF(tuple);
            return counts;
        }
    }
    if (groups == 0 && sum == 0) {
        Py_DECREF(tuple);
        return counts;
    }
    PyErr_SetString(PyExc_ValueError, "The counts must add up to the number of items.");

failed:
    PyMem_Free(counts);
    Py_DECREF(tuple);
    return NULL;
}

PyObject *raise_outcome(enum outcome outcome)
{
    PyErr_SetString(PyExc_RuntimeError, outcome == NO_ENTROPY
                                            ? "The operating system gave no randomness for a nonce."
                                            : "A lane of the signature library failed; nothing of the call is used.");
    return NULL;
}
