#include "module.h"

#include "ed25519.h"
#include "verify.h"

/* Everything that a call holds, so that one place frees it. `texts` are digests of ECDSA, and messages of Ed25519. */
struct call {
    PyObject *points, *texts, *signatures, *answers;
    struct text *point, *text, *signature;
    Py_ssize_t *counts, groups, size;
    void *keys, *items;
};

static void end_call(struct call *call)
{
    Py_XDECREF(call->points);
    Py_XDECREF(call->texts);
    Py_XDECREF(call->signatures);
    PyMem_Free(call->point);
    PyMem_Free(call->text);
    PyMem_Free(call->signature);
    PyMem_Free(call->counts);
    PyMem_Free(call->keys);
    PyMem_Free(call->items);
}

/* Reads the arguments and makes room; returns whether it did. */
static int begin_call(struct call *call, PyObject *arguments, size_t size_of_key, size_t size_of_item)
{
    PyObject *points, *counts, *texts, *signatures;
    Py_ssize_t also;
    if (!PyArg_ParseTuple(arguments, "OOOO", &points, &counts, &texts, &signatures) ||
        !(call->points = texts_of(points, "points", &call->point, &call->groups)) ||
        !(call->texts = texts_of(texts, "digests or messages", &call->text, &call->size)) ||
        !(call->signatures = texts_of(signatures, "signatures", &call->signature, &also)) ||
        !(call->counts = counts_of(counts, call->groups, call->size))) {
        return 0;
    }
    if (also != call->size) {
        PyErr_SetString(PyExc_ValueError, "There must be as many signatures as texts that were signed.");
        return 0;
    }
    call->keys = PyMem_Calloc((size_t)call->groups + 1, size_of_key);
    call->items = PyMem_Calloc((size_t)call->size + 1, size_of_item);
    if (!call->keys || !call->items) {
        PyErr_NoMemory();
        return 0;
    }
    call->answers = PyBytes_FromStringAndSize(NULL, call->size);
    return call->answers != NULL;
}

static PyObject *answers_of(struct call *call, enum outcome outcome)
{
    if (outcome != DONE) {
        Py_CLEAR(call->answers);
        raise_outcome(outcome);
    }
    end_call(call);
    return call->answers;
}

static PyObject *without_answers(struct call *call)
{
    Py_CLEAR(call->answers);
    end_call(call);
    return NULL;
}

PyObject *module_verify(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct call call = {0};
    enum outcome outcome;
    if (!begin_call(&call, arguments, sizeof(struct p256_point), sizeof(struct to_verify))) {
        return without_answers(&call);
    }
    struct p256_point *key = call.keys;
    struct to_verify *items = call.items, *item = items;
    for (Py_ssize_t group = 0; group < call.groups; group++, key++) {
        if (!p256_point_open(key, call.point[group].data, call.point[group].length)) {
            PyErr_SetString(PyExc_ValueError, "A public key is no uncompressed point on P-256.");
            return without_answers(&call);
        }
        for (Py_ssize_t i = 0; i < call.counts[group]; i++, item++) {
            *item = (struct to_verify){call.text[item - items], call.signature[item - items], key};
        }
    }
    uint8_t *answers = (uint8_t *)PyBytes_AsString(call.answers);
    Py_BEGIN_ALLOW_THREADS
    outcome = verify_all(answers, items, (size_t)call.size);
    Py_END_ALLOW_THREADS
    return answers_of(&call, outcome);
}

PyObject *module_verify_ed25519(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct call call = {0};
    enum outcome outcome;
    if (!begin_call(&call, arguments, 1, sizeof(struct ed25519_to_verify))) {
        return without_answers(&call);
    }
    struct ed25519_to_verify *items = call.items, *item = items;
    for (Py_ssize_t group = 0; group < call.groups; group++) {
        if (call.point[group].length != ED25519_BYTES || !ed25519_is_canonical(call.point[group].data)) {
            PyErr_SetString(PyExc_ValueError, "A public key is no encoded point of Ed25519.");
            return without_answers(&call);
        }
        for (Py_ssize_t i = 0; i < call.counts[group]; i++, item++) {
            *item = (struct ed25519_to_verify){call.text[item - items], call.signature[item - items],
                                               call.point[group].data};
            if (item->message.length > ED25519_LONGEST) {
                PyErr_SetString(PyExc_OverflowError, "A text of 2 GB or more can't be verified with Ed25519.");
                return without_answers(&call);
            }
        }
    }
    uint8_t *answers = (uint8_t *)PyBytes_AsString(call.answers);
    Py_BEGIN_ALLOW_THREADS
    outcome = ed25519_verify_all(answers, items, (size_t)call.size);
    Py_END_ALLOW_THREADS
    return answers_of(&call, outcome);
}
