/* What the two halves of `ocirun.spec._json` share. */

#ifndef OCIRUN_JSON_H
#define OCIRUN_JSON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define MAX_DEPTH 256 /* levels of values, the document itself being the first */

/* Return `value` as JSON without spaces, a new str; the method `compact`. */
PyObject *json_compact(PyObject *module, PyObject *value);

#endif
