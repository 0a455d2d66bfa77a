/* The Python module vaultstream.crypto._multibuffer. What its functions take and return: see multibuffer.py there. */
#include "module.h"

#include <crypto_mb/version.h>

#include "applicable.h"
#include "sha256_lanes.h"
#include "verify.h"

static PyObject *module_applicable(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(applicable());
}

static PyObject *module_version(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromFormat("%d.%d.%d", MBX_VER_MAJOR, MBX_VER_MINOR, MBX_VER_PATCH);
}

static PyMethodDef methods[] = {
    {"any_begins", module_any_begins, METH_VARARGS, NULL},
    {"applicable", module_applicable, METH_NOARGS, NULL},
    {"audit_batches", module_audit_batches, METH_VARARGS, NULL},
    {"audit_known", module_audit_known, METH_VARARGS, NULL},
    {"audit_payloads", module_audit_payloads, METH_VARARGS, NULL},
    {"known_answer", module_known_answer, METH_VARARGS, NULL},
    {"root", module_root, METH_VARARGS, NULL},
    {"roots", module_roots, METH_VARARGS, NULL},
    {"sha256", module_sha256, METH_O, NULL},
    {"sign", module_sign, METH_VARARGS, NULL},
    {"verify", module_verify, METH_VARARGS, NULL},
    {"verify_ed25519", module_verify_ed25519, METH_VARARGS, NULL},
    {"version", module_version, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    sha256_setup();
    sha256_lanes_setup();
    (void)applicable(); /* the library looks at the processor once, here, before there can be two threads */
    state->key_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &key_spec, NULL);
    state->ed25519_key_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ed25519_key_spec, NULL);
    if (PyModule_AddIntConstant(module, "table_least", TABLE_LEAST)) {
        return -1;
    }
    if (!state->key_type || !state->ed25519_key_type || PyModule_AddType(module, state->key_type) ||
        PyModule_AddType(module, state->ed25519_key_type)) {
        return -1;
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = PyModule_GetState(module);
    Py_VISIT(state->key_type);
    Py_VISIT(state->ed25519_key_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->key_type);
    Py_CLEAR(state->ed25519_key_type);
    return 0;
}

static void module_free(void *module)
{
    struct module_state *state = PyModule_GetState(module);
    if (state) {
        (void)module_clear(module);
        vault_close(&state->vault);
    }
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_multibuffer",
    .m_doc = "Signs and verifies eight records at a time, with AVX-512 IFMA.",
    .m_size = sizeof(struct module_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__multibuffer(void);
PyMODINIT_FUNC PyInit__multibuffer(void)
{
    return PyModuleDef_Init(&definition);
}
