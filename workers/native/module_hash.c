#include <string.h>

#include "module.h"

PyObject *list_of(uint8_t (*hashes)[SHA256_BYTES], Py_ssize_t count)
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
        sha256_many(found, texts, (size_t)size);
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

PyObject *module_any_begins(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *payloads, *prefix, *tuple;
    struct text *texts = NULL;
    Py_ssize_t size;
    int found = 0;
    if (!PyArg_ParseTuple(arguments, "OS:any_begins", &payloads, &prefix) ||
        !(tuple = texts_of(payloads, "payloads", &texts, &size))) {
        return NULL;
    }
    size_t length = (size_t)PyBytes_Size(prefix);
    const char *begin = PyBytes_AsString(prefix);
    for (Py_ssize_t i = 0; i < size && !found; i++) {
        found = texts[i].length >= length && !memcmp(texts[i].data, begin, length);
    }
    PyMem_Free(texts);
    Py_DECREF(tuple);
    return PyBool_FromLong(found);
}
