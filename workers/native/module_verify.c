#include "module.h"
#include "verify.h"

/* Everything that module_verify holds, so that one place frees it. */
struct call {
    PyObject *points, *digests, *signatures, *answers;
    struct text *point, *digest, *signature;
    Py_ssize_t *counts;
    struct p256_point *keys;
    struct to_verify *items;
};

static void end_call(struct call *call)
{
    Py_XDECREF(call->points);
    Py_XDECREF(call->digests);
    Py_XDECREF(call->signatures);
    PyMem_Free(call->point);
    PyMem_Free(call->digest);
    PyMem_Free(call->signature);
    PyMem_Free(call->counts);
    PyMem_Free(call->keys);
    PyMem_Free(call->items);
}

static int fill_items(struct call *call, Py_ssize_t groups, Py_ssize_t size)
{
    call->keys = PyMem_Calloc(groups ? (size_t)groups : 1, sizeof *call->keys);
    call->items = PyMem_Calloc(size ? (size_t)size : 1, sizeof *call->items);
    if (!call->keys || !call->items) {
        PyErr_NoMemory();
        return 0;
    }
    struct to_verify *item = call->items;
    for (Py_ssize_t group = 0; group < groups; group++) {
        if (!p256_point_open(call->keys + group, call->point[group].data, call->point[group].length)) {
            PyErr_SetString(PyExc_ValueError, "A public key is no uncompressed point on P-256.");
            return 0;
        }
        for (Py_ssize_t i = 0; i < call->counts[group]; i++, item++) {
            item->digest = call->digest[item - call->items];
            item->signature = call->signature[item - call->items];
            item->key = call->keys + group;
        }
    }
    return 1;
}

PyObject *module_verify(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct call call = {0};
    PyObject *points, *counts, *digests, *signatures;
    Py_ssize_t groups, size, also;
    enum outcome outcome = DONE;

    if (!PyArg_ParseTuple(arguments, "OOOO:verify", &points, &counts, &digests, &signatures)) {
        return NULL;
    }
    if (!(call.points = texts_of(points, "points", &call.point, &groups)) ||
        !(call.digests = texts_of(digests, "digests", &call.digest, &size)) ||
        !(call.signatures = texts_of(signatures, "signatures", &call.signature, &also)) ||
        !(call.counts = counts_of(counts, groups, size))) {
        goto end;
    }
    if (also != size) {
        PyErr_SetString(PyExc_ValueError, "There must be as many signatures as digests.");
        goto end;
    }
    if (!fill_items(&call, groups, size) || !(call.answers = PyBytes_FromStringAndSize(NULL, size))) {
        goto end;
    }
    uint8_t *answers = (uint8_t *)PyBytes_AsString(call.answers);
    Py_BEGIN_ALLOW_THREADS
    outcome = verify_all(answers, call.items, (size_t)size);
    Py_END_ALLOW_THREADS
    if (outcome != DONE) {
        Py_CLEAR(call.answers);
        raise_outcome(outcome);
    }
end:
    end_call(&call);
    return call.answers;
}
