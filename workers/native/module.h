/* What the files of the Python module share. */
#ifndef VS_MODULE_H
#define VS_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "sha256_lanes.h"
#include "sign.h"
#include "vault.h"

#define WIDEST_ROW 65536

struct module_state {
    struct vault vault;
    PyTypeObject *key_type, *ed25519_key_type;
};

/* Key and Ed25519Key. */
extern PyType_Spec key_spec, ed25519_key_spec;
/* The key in an object of a type, or NULL with TypeError. */
const void *key_of(PyTypeObject *type, PyObject *object);

/* Reads a sequence of bytes objects as a new tuple of them, and where their bytes are. They stay there while the tuple lives. */
PyObject *texts_of(PyObject *sequence, const char *name, struct text **texts, Py_ssize_t *count);
/* Reads a sequence of numbers, none of which is negative, and checks their sum; frees nothing: see PyMem_Free. */
Py_ssize_t *counts_of(PyObject *sequence, Py_ssize_t groups, Py_ssize_t sum);
/* Returns a list of hashes, or NULL. */
PyObject *list_of(uint8_t (*hashes)[SHA256_BYTES], Py_ssize_t count);
/* Raises what an outcome says; returns NULL. */
PyObject *raise_outcome(enum outcome outcome);

PyObject *module_sign(PyObject *module, PyObject *arguments);
PyObject *module_known_answer(PyObject *module, PyObject *arguments);
PyObject *module_verify(PyObject *module, PyObject *arguments);
PyObject *module_verify_ed25519(PyObject *module, PyObject *arguments);
PyObject *module_roots(PyObject *module, PyObject *arguments);
PyObject *module_root(PyObject *module, PyObject *arguments);
PyObject *module_sha256(PyObject *module, PyObject *payloads);
PyObject *module_audit_batches(PyObject *module, PyObject *arguments);
PyObject *module_audit_known(PyObject *module, PyObject *arguments);
PyObject *module_audit_payloads(PyObject *module, PyObject *arguments);
PyObject *module_any_begins(PyObject *module, PyObject *arguments);

#endif
