/* What library.py took out of libpython.a, and libpython.a refers to. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX >= 0x030C0000 /* before, there was no module of this name */
PyMODINIT_FUNC PyInit__sha2(void);

PyMODINIT_FUNC PyInit__sha2(void)
{
    PyErr_SetString(PyExc_ImportError, "_sha2 is not linked into this program; hashlib has it from "
                                       "OpenSSL");
    return NULL;
}
#endif
