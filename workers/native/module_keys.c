#include "module.h"

#include "ed25519.h"

struct key_object {
    PyObject_HEAD
    void *secret; /* a slot of the vault, or NULL */
};

_Static_assert(sizeof(struct p256_secret) <= VAULT_SLOT, "a key fits into a slot");
_Static_assert(sizeof(struct ed25519_secret) <= VAULT_SLOT, "a key fits into a slot");

/* Makes a key object of a slot into which `bytes` were read, with a public key of the same length if there is one. */
static PyObject *new_key(PyTypeObject *type, const Py_buffer *bytes, const uint8_t *public_key,
                         int (*open)(void *, const uint8_t *, const uint8_t *), const char *unusable)
{
    struct module_state *state = PyType_GetModuleState(type);
    struct key_object *self = NULL;
    if (bytes->len != P256_BYTES) {
        PyErr_SetString(PyExc_ValueError, "A private key has 32 bytes.");
    } else if (state && (self = (struct key_object *)PyType_GenericAlloc(type, 0))) {
        self->secret = vault_take(&state->vault);
        if (!self->secret) {
            PyErr_NoMemory();
            Py_CLEAR(self);
        } else if (!open(self->secret, bytes->buf, public_key)) {
            PyErr_SetString(PyExc_ValueError, unusable);
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static int open_p256(void *secret, const uint8_t *bytes, const uint8_t *no_public_key)
{
    (void)no_public_key;
    return p256_secret_open(secret, bytes);
}

static int open_ed25519(void *secret, const uint8_t *bytes, const uint8_t *public_key)
{
    return ed25519_secret_open(secret, bytes, public_key);
}

/* Returns whether a key is made of positional arguments alone. */
static int without(PyObject *keywords)
{
    if (keywords && PyDict_Size(keywords) > 0) {
        PyErr_SetString(PyExc_TypeError, "A key takes no keyword arguments.");
        return 0;
    }
    return 1;
}

static PyObject *key_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Py_buffer scalar;
    if (!without(keywords) || !PyArg_ParseTuple(arguments, "y*:Key", &scalar)) {
        return NULL;
    }
    PyObject *key = new_key(type, &scalar, NULL, open_p256,
                            "A private key of P-256 is at least 1 and below the order of the group.");
    PyBuffer_Release(&scalar);
    return key;
}

static PyObject *ed25519_key_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Py_buffer seed, public_key;
    PyObject *key = NULL;
    if (!without(keywords) || !PyArg_ParseTuple(arguments, "y*y*:Ed25519Key", &seed, &public_key)) {
        return NULL;
    }
    if (public_key.len != ED25519_BYTES) {
        PyErr_SetString(PyExc_ValueError, "A public key of Ed25519 has 32 bytes.");
    } else {
        key = new_key(type, &seed, public_key.buf, open_ed25519,
                      "A lane of the library computes another public key of a seed than the given one.");
    }
    PyBuffer_Release(&seed);
    PyBuffer_Release(&public_key);
    return key;
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

static PyType_Slot ed25519_key_slots[] = {
    {Py_tp_doc, "A private key of Ed25519, in memory that is wiped with it. It can't be read again."},
    {Py_tp_new, ed25519_key_new},
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

PyType_Spec ed25519_key_spec = {
    .name = "vaultstream.crypto._multibuffer.Ed25519Key",
    .basicsize = sizeof(struct key_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = ed25519_key_slots,
};

const void *key_of(PyTypeObject *type, PyObject *object)
{
    if (!Py_IS_TYPE(object, type)) {
        PyErr_SetString(PyExc_TypeError, "The keys must be objects of one of the types Key and Ed25519Key.");
        return NULL;
    }
    return ((struct key_object *)object)->secret;
}
