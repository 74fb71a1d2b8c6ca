/* What only the one-file build has: an archive of modules in the program itself. */

#ifndef OCIRUN_ONEFILE_H
#define OCIRUN_ONEFILE_H

#include <Python.h>

/* The module `_ocirun_archive`: `view()` returns the archive as a memoryview. */
PyMODINIT_FUNC PyInit__ocirun_archive(void);

/* Let the running interpreter import from the archive (ocirun/kernel/archive.py). */
void open_archive(void);

#endif
