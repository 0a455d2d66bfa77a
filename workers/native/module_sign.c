#include "module.h"

#include "ed25519.h"
#include "wipe.h"

/* Everything that module_sign holds, so that one place frees it. */
struct call {
    PyObject *keys, *payloads, *messages, *rows;
    struct text *payload, *message;
    Py_ssize_t *counts;
    struct to_sign *items;
};

static void end_call(struct call *call)
{
    Py_XDECREF(call->keys);
    Py_XDECREF(call->payloads);
    Py_XDECREF(call->messages);
    PyMem_Free(call->payload);
    PyMem_Free(call->message);
    PyMem_Free(call->counts);
    PyMem_Free(call->items);
}

/* Writes what is to be signed with keys of one type; an Ed25519 signature is over the text itself, which may not be any longer. */
static int fill_items(PyTypeObject *type, struct call *call, Py_ssize_t groups, size_t longest)
{
    struct to_sign *item = call->items;
    for (Py_ssize_t group = 0; group < groups; group++) {
        const void *key = key_of(type, PyTuple_GetItem(call->keys, group));
        if (!key) {
            return 0;
        }
        for (Py_ssize_t i = 0; i < call->counts[group]; i++, item++) {
            size_t index = (size_t)(item - call->items);
            item->payload = call->payload[index];
            item->message = call->message ? call->message[index] : (struct text){NULL, 0};
            item->key = key;
            if (item->payload.length > longest || item->message.length > longest) {
                PyErr_SetString(PyExc_OverflowError, "A text of 2 GB or more can't be signed with Ed25519.");
                return 0;
            }
        }
    }
    return 1;
}

PyObject *module_sign(PyObject *module, PyObject *arguments)
{
    struct module_state *state = PyModule_GetState(module);
    struct call call = {0};
    PyObject *keys, *counts, *payloads, *messages;
    Py_ssize_t width, size, signed_size;
    enum outcome outcome = DONE;

    if (!PyArg_ParseTuple(arguments, "OOOOn:sign", &keys, &counts, &payloads, &messages, &width)) {
        return NULL;
    }
    if (!(call.keys = PySequence_Tuple(keys))) {
        return NULL;
    }
    int is_ed25519 = PyTuple_Size(call.keys) > 0 && Py_IS_TYPE(PyTuple_GetItem(call.keys, 0), state->ed25519_key_type);
    int least = is_ed25519 ? ED25519_ROW_LEAST : ROW_LEAST;
    if (width < least || width > WIDEST_ROW) {
        PyErr_Format(PyExc_ValueError, "The width of a row must be from %d to %d.", least, WIDEST_ROW);
        goto end;
    }
    if (!(call.payloads = texts_of(payloads, "payloads", &call.payload, &size)) ||
        !(call.counts = counts_of(counts, PyTuple_Size(call.keys), size))) {
        goto end;
    }
    if (messages != Py_None) {
        if (!(call.messages = texts_of(messages, "messages", &call.message, &signed_size))) {
            goto end;
        }
        if (signed_size != size) {
            PyErr_SetString(PyExc_ValueError, "There must be as many messages as payloads.");
            goto end;
        }
    }
    if (size > PY_SSIZE_T_MAX / width) {
        PyErr_NoMemory();
        goto end;
    }
    if (!(call.items = PyMem_Calloc(size ? (size_t)size : 1, sizeof *call.items))) {
        PyErr_NoMemory();
        goto end;
    }
    if (!fill_items(is_ed25519 ? state->ed25519_key_type : state->key_type, &call, PyTuple_Size(call.keys),
                    is_ed25519 ? ED25519_LONGEST : SIZE_MAX) ||
        !(call.rows = PyBytes_FromStringAndSize(NULL, size * width))) {
        goto end;
    }
    uint8_t *rows = (uint8_t *)PyBytes_AsString(call.rows);
    Py_BEGIN_ALLOW_THREADS
    outcome = (is_ed25519 ? ed25519_sign_rows : sign_rows)(rows, (size_t)width, call.items, (size_t)size);
    Py_END_ALLOW_THREADS
    if (outcome != DONE) {
        Py_CLEAR(call.rows);
        raise_outcome(outcome);
    }
end:
    end_call(&call);
    return call.rows;
}

PyObject *module_known_answer(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer scalar, nonce, digest;
    struct p256_secret key = {0};
    p256_number k = {0};
    uint8_t der[P256_DER_MAX];
    size_t length = 0;
    PyObject *answer = NULL;

    if (!PyArg_ParseTuple(arguments, "y*y*y*:known_answer", &scalar, &nonce, &digest)) {
        return NULL;
    }
    if (scalar.len != P256_BYTES || nonce.len != P256_BYTES || digest.len != P256_BYTES) {
        PyErr_SetString(PyExc_ValueError, "The scalar, the nonce and the digest have 32 bytes each.");
        goto end;
    }
    p256_load(k, nonce.buf);
    if (!p256_secret_open(&key, scalar.buf) || !p256_is_scalar(k)) {
        PyErr_SetString(PyExc_ValueError, "The scalar and the nonce are at least 1 and below the order of the group.");
        goto end;
    }
    enum outcome outcome = sign_with_nonce(der, &length, &key, k, digest.buf);
    answer = outcome == DONE ? PyBytes_FromStringAndSize((const char *)der, (Py_ssize_t)length) : raise_outcome(outcome);
end:
    wipe(&key, sizeof key);
    wipe(k, sizeof k);
    PyBuffer_Release(&scalar);
    PyBuffer_Release(&nonce);
    PyBuffer_Release(&digest);
    return answer;
}
