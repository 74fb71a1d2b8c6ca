"""Write the C source of `_ocirun_calls`: the calls of `native.py` for a launcher that links them.

A snapshot of the interpreter cannot hold a shared object, which is what cffi's backend is. So the
launcher that starts from one has the same calls, from the same declarations, as a plain module of
Python's C interface. `ocirun/kernel/linked.py` gives it cffi's face. Everything else (calls through
pointers, libseccomp) loads cffi when it is needed.

Run by meson: `python linked.py OUTPUT.c`.
"""

from __future__ import annotations

import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# C type: how to take it from Python. Anything else stops the build.
SIGNED: Final = {"int": "INT", "long": "LONG", "int32_t": "INT32", "int64_t": "INT64"}
UNSIGNED: Final = {
    "unsigned int": "UINT_MAX",
    "unsigned long": "ULONG_MAX",
    "uint32_t": "UINT32_MAX",
    "uint64_t": "UINT64_MAX",
    "size_t": "SIZE_MAX",
}
POINTERS: Final = {
    f"{const}{kind} *" for const in ("", "const ") for kind in {*SIGNED, *UNSIGNED, "char", "void"}
}

# Calls that return pointers: cffi's alone.
LEFT_OUT: Final = {"dlopen", "dlsym"}

HEADER: Final = r"""/* Written by ocirun/_build/linked.py. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>

static __thread int last_errno; /* of the last call; Python changes errno itself */

static int take_signed(PyObject *value, long long least, long long most, long long *result)
{
    *result = PyLong_AsLongLong(value);
    if (*result == -1 && PyErr_Occurred())
        return -1;
    if (*result < least || *result > most) {
        PyErr_Format(PyExc_OverflowError, "%R does not fit", value);
        return -1;
    }
    return 0;
}

static int take_unsigned(PyObject *value, unsigned long long most, unsigned long long *result)
{
    *result = PyLong_AsUnsignedLongLong(value);
    if (*result == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    if (*result > most) {
        PyErr_Format(PyExc_OverflowError, "%R does not fit", value);
        return -1;
    }
    return 0;
}

/* None is NULL; bytes and arrays are lent for the length of the call. */
static int take_pointer(PyObject *value, int flags, Py_buffer *lent)
{
    if (value != Py_None)
        return PyObject_GetBuffer(value, lent, flags);
    lent->buf = NULL;
    lent->obj = NULL;
    return 0;
}

static int take_count(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%zd arguments expected, %zd given", wanted, given);
    return -1;
}
"""

FOOTER: Final = r"""
static PyObject *get_errno(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyLong_FromLong(last_errno);
}

static PyMethodDef methods[] = {
%s    {"get_errno", get_errno, METH_NOARGS, "Return errno as the last call left it."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_ocirun_calls", "System calls.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__ocirun_calls(void);

PyMODINIT_FUNC PyInit__ocirun_calls(void)
{
    return PyModule_Create(&definition);
}
"""


class UnknownType(Exception):
    """A declaration has a type that this generator does not know."""


def parameter_types(text: str) -> list[str]:
    """Return the types in a parameter list: "int fd, const char *path" has two."""
    if text == "void":
        return []
    return [
        re.sub(r"\w+$", "", one.strip()).strip() if not one.strip().endswith("*") else one.strip()
        for one in text.split(",")
    ]


def wrapper(result: str, name: str, types: list[str]) -> str:
    """Return the C function that takes Python's arguments and makes the call."""
    before, after, words = [], [], []
    for number, kind in enumerate(types):
        value = f"argument_{number}"
        if kind in SIGNED:
            limit = SIGNED[kind]
            before.append(
                f"    long long {value};\n"
                f"    if (take_signed(arguments[{number}], {limit}_MIN, {limit}_MAX,"
                f" &{value}) < 0)\n"
                "        goto out;\n"
            )
            words.append(f"({kind}){value}")
        elif kind in UNSIGNED:
            before.append(
                f"    unsigned long long {value};\n"
                f"    if (take_unsigned(arguments[{number}], {UNSIGNED[kind]}, &{value}) < 0)\n"
                "        goto out;\n"
            )
            words.append(value)
        elif kind in POINTERS:
            flags = "PyBUF_SIMPLE" if kind.startswith("const") else "PyBUF_WRITABLE"
            before.append(
                f"    if (take_pointer(arguments[{number}], {flags}, &lent[{number}]) < 0)\n"
                "        goto out;\n"
            )
            words.append(f"lent[{number}].buf")
        else:
            raise UnknownType(f"{name}: {kind}")
    if result not in SIGNED and result != "void":
        raise UnknownType(f"{name}: {result}")
    lent = any(kind in POINTERS for kind in types)
    if lent:
        after.append(
            f"    for (int i = 0; i < {len(types)}; i++)\n"
            "        if (lent[i].obj)\n"
            "            PyBuffer_Release(&lent[i]);\n"
        )
    # Declarations first: no jump passes over one.
    declared = [
        line
        for text in before
        for line in re.findall(r"^    (?:unsigned )?long long.*\n", text, re.MULTILINE)
    ]
    steps = [re.sub(r"^    (?:unsigned )?long long.*\n", "", text) for text in before]
    return (
        f"\nstatic PyObject *call_{name}(PyObject *module, PyObject *const *arguments, "
        "Py_ssize_t count)\n{\n"
        "    PyObject *result = NULL;\n"
        "    long long returned = 0;\n"
        + (f"    Py_buffer lent[{len(types)}] = {{{{0}}}};\n" if lent else "")
        + "".join(declared)
        + "\n    (void)module, (void)arguments;\n"
        f"    if (take_count(count, {len(types)}) < 0)\n        goto out;\n"
        + "".join(steps)
        + "    Py_BEGIN_ALLOW_THREADS\n"
        f"    {'' if result == 'void' else 'returned = '}{name}({', '.join(words)});\n"
        "    last_errno = errno;\n"
        "    Py_END_ALLOW_THREADS\n"
        + (
            "    result = Py_NewRef(Py_None);\n    (void)returned;\n"
            if result == "void"
            else "    result = PyLong_FromLongLong(returned);\n"
        )
        + "out:\n"
        + "".join(after)
        + "    return result;\n}\n"
    )


def generate(cdef: str, source: str) -> str:
    """Return the C source of the module; `cdef` and `source` are those that cffi is given."""
    functions, table = [], []
    for declaration in cdef.split(";"):
        text = " ".join(declaration.split())
        if not text:
            continue
        found = re.fullmatch(r"(.*?)(\w+)\((.*)\)", text)
        if not found:
            raise UnknownType(text)
        result, name, parameters = found[1].strip(), found[2], found[3]
        if name in LEFT_OUT:
            continue
        functions.append(wrapper(result, name, parameter_types(parameters)))
        table.append(
            f'    {{"{name}", (PyCFunction)(void (*)(void))call_{name}, METH_FASTCALL, NULL}},\n'
        )
    return HEADER + source + "".join(functions) + FOOTER % "".join(table)


def main(output: str) -> None:
    """Write the C source to `output`."""
    from native import CDEF, SOURCE  # type: ignore[import-not-found]  # beside this file

    with open(output, "w", encoding="utf-8") as target:
        target.write(generate(CDEF, SOURCE))


if __name__ == "__main__":
    main(sys.argv[1])
