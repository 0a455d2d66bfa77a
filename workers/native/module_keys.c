#include "module.h"

#include <string.h>

struct key_object {
    PyObject_HEAD
    struct p256_secret *secret; /* in the vault, or NULL */
};

_Static_assert(sizeof(struct p256_secret) <= VAULT_SLOT, "a key fits into a slot");

static PyObject *key_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"scalar", NULL};
    struct module_state *state = PyType_GetModuleState(type);
    Py_buffer scalar;
    if (!state || !PyArg_ParseTupleAndKeywords(arguments, keywords, "y*:Key", names, &scalar)) {
        return NULL;
    }
    struct key_object *self = NULL;
    if (scalar.len != P256_BYTES) {
        PyErr_SetString(PyExc_ValueError, "A private key of P-256 has 32 bytes.");
    } else if ((self = (struct key_object *)PyType_GenericAlloc(type, 0))) {
        self->secret = vault_take(&state->vault);
        if (!self->secret) {
            PyErr_NoMemory();
            Py_CLEAR(self);
        } else if (!p256_secret_open(self->secret, scalar.buf)) {
            PyErr_SetString(PyExc_ValueError, "A private key of P-256 is at least 1 and below the order of the group.");
            Py_CLEAR(self);
        }
    }
    PyBuffer_Release(&scalar);
    return (PyObject *)self;
}

static void key_dealloc(PyObject *object)
{
    struct key_object *self = (struct key_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    struct module_state *state = PyType_GetModuleState(type);
    if (self->secret && state) {
        vault_give(&state->vault, self->secret);
    }
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *key_reduce(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyErr_SetString(PyExc_TypeError, "A private key can't be pickled or copied.");
    return NULL;
}

static PyMethodDef key_methods[] = {
    {"__reduce__", key_reduce, METH_NOARGS, NULL},
    {"__reduce_ex__", key_reduce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot key_slots[] = {
    {Py_tp_doc, "A private key of P-256, in memory that is wiped with it. It can't be read again."},
    {Py_tp_new, key_new},
    {Py_tp_dealloc, key_dealloc},
    {Py_tp_methods, key_methods},
    {0, NULL},
};

PyType_Spec key_spec = {
    .name = "vaultstream.crypto._multibuffer.Key",
    .basicsize = sizeof(struct key_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = key_slots,
};

const struct p256_secret *key_of(struct module_state *state, PyObject *object)
{
    if (!Py_IS_TYPE(object, state->key_type)) {
        PyErr_SetString(PyExc_TypeError, "The keys must be objects of the type Key.");
        return NULL;
    }
    return ((struct key_object *)object)->secret;
}
