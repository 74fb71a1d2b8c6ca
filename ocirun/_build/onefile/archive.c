/* The archive of the one-file build: modules, extensions and files that are not frozen.
 *
 * tools/onefile/archive.py writes it; here it becomes a read-only part of the program, mapped page
 * by page as it is read.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../embed.h"
#include "onefile.h"

__asm__(".pushsection .rodata.archive,\"a\"\n"
        ".balign 4096\n"
        "archive_start: .incbin \"" ARCHIVE "\"\n"
        "archive_end:\n"
        ".popsection");

extern const char archive_start[], archive_end[];

static PyObject *view(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyMemoryView_FromMemory((char *)archive_start, archive_end - archive_start, PyBUF_READ);
}

PyMODINIT_FUNC PyInit__ocirun_archive(void)
{
    static PyMethodDef methods[] = {
        {"view", view, METH_NOARGS, "Return the archive as a memoryview."}, {0}};
    static struct PyModuleDef module = {
        PyModuleDef_HEAD_INIT, .m_name = "_ocirun_archive", .m_methods = methods};

    return PyModule_Create(&module);
}

void open_archive(void)
{
    PyObject *module = PyImport_ImportModule("ocirun.kernel.archive"), *result = NULL;

    if (module)
        result = PyObject_CallMethod(module, "install", NULL);
    if (!result)
        fail("opening the archive of modules: %s", exception_text());
    Py_DECREF(result);
    Py_DECREF(module);
}
