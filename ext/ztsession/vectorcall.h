/* Gives a Cython type the vectorcall protocol (PEP 590): no tuple is built for a call. */
#ifndef ZTS_VECTORCALL_H
#define ZTS_VECTORCALL_H

#include <Python.h>

static inline void zts_enable_vectorcall(PyTypeObject *type, Py_ssize_t offset) {
    type->tp_vectorcall_offset = offset;
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified(type);
}

#endif
