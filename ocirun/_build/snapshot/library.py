"""Write a copy of libpython.a that can be linked into the launcher.

Three things are taken out:

- `sha2module.o` of 3.12 and 3.13: the functions it calls are in another archive, which CPython
  does not install. `left_out.c` has a module in its place that cannot be imported; `random` then
  uses `hashlib`, and that uses OpenSSL.
- from `obmalloc.o` of 3.13, the constructor of mimalloc. It would run at each start: it allocates
  the first pthread key, reads from /proc, and follows variables of the environment before `main`
  drops them. mimalloc is used only with PYTHONMALLOC=mimalloc, and initialises itself when it is
  first called.
- `deepfreeze.o` of 3.11 and 3.12: the modules that Python starts with, and their strings, as
  initialised data. The launcher's own modules use these strings too, and each use writes to one:
  they lie on a hundred pages. In its place the same modules are put in marshalled form, as 3.13 has
  them; their objects then lie where the snapshot wants them (cli/placement.py).

Run by meson: `python library.py OUTPUT.a`.
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from support import static_library, variable  # type: ignore[import-not-found]  # beside this file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

WITH_CONSTRUCTOR = "obmalloc.o"
CONSTRUCTORS = (".init_array", ".rela.init_array")
# What deepfreeze.o has, without the modules that are tests.
DEEP_FROZEN: Final = (
    "importlib._bootstrap", "importlib._bootstrap_external", "zipimport",
    "abc", "codecs", "io", "_collections_abc", "_sitebuiltins", "genericpath", "ntpath",
    "posixpath", "os", "site", "stat", "importlib.util", "importlib.machinery", "runpy",
)  # fmt: skip
DEEP_FROZEN_HEAD: Final = """\
#include <Python.h>
#include <marshal.h>

int _Py_Deepfreeze_Init(void) { return 0; }
void _Py_Deepfreeze_Fini(void) {}
uint32_t _Py_next_func_version = 1; /* 3.12: the first that no function of a module above has */

"""
DEEP_FROZEN_ENTRY: Final = """\
PyObject *_Py_get_{symbol}_toplevel(void)
{{
    static const char code[] =
{literal};
    return PyMarshal_ReadObjectFromString(code, {size});
}}

"""


def run(*words: str) -> None:
    """Run a program of binutils; exits with its message when it fails."""
    try:
        done = subprocess.run(words, check=False)  # noqa: S603  # no shell
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed")


def main(output: str) -> None:
    """Write the archive."""
    archiver = os.environ.get("AR", "ar")
    shutil.copyfile(static_library(), output)
    if variable("LIBHACL_SHA2_A"):
        run(archiver, "d", output, "sha2module.o")
    with tempfile.TemporaryDirectory() as folder:
        member = os.path.join(folder, WITH_CONSTRUCTOR)
        run(archiver, "x", "--output", folder, output, WITH_CONSTRUCTOR)
        run("objcopy", *(f"--remove-section={name}" for name in CONSTRUCTORS), member)
        run(archiver, "r", output, member)
        if sys.version_info < (3, 13):
            thaw_deep_frozen(archiver, output, folder)


def thaw_deep_frozen(archiver: str, archive: str, folder: str) -> None:
    """Replace the deep-frozen modules of the archive; `folder` is for scratch files."""
    c_file, member, table = (
        os.path.join(folder, name) for name in ("deepfreeze.c", "deepfreeze.o", "frozen.o")
    )
    with open(c_file, "w", encoding="ascii") as file:
        file.writelines(deep_frozen_source())
    compiler = os.environ.get("CC", "cc").split()
    run(*compiler, "-O2", "-c", f"-I{sysconfig.get_path('include')}", c_file, "-o", member)
    # The table of modules refers to those that are tests: an undefined weak symbol is NULL.
    run(archiver, "x", "--output", folder, archive, "frozen.o")
    run("objcopy", "--wildcard", "--weaken-symbol=_Py_get_*_toplevel", table)
    run(archiver, "r", archive, member, table)


def deep_frozen_source() -> Iterator[str]:
    """Return the C source of what CPython's deepfreeze.o defines."""
    yield DEEP_FROZEN_HEAD
    for name in DEEP_FROZEN:
        path = os.path.join(sysconfig.get_path("stdlib"), *name.split(".")) + ".py"
        with open(path, "rb") as file:
            code = compile(file.read(), f"<frozen {name}>", "exec", dont_inherit=True, optimize=0)
        content = marshal.dumps(code)
        symbol = name.replace(".", "_")
        text = "\n".join(literal(content))
        yield DEEP_FROZEN_ENTRY.format(symbol=symbol, literal=text, size=len(content))


def literal(content: bytes) -> Iterator[str]:
    """Return `content` as C string literals: what a compiler reads fastest."""
    for start in range(0, len(content), 64):
        octal = "".join(f"\\{byte:03o}" for byte in content[start : start + 64])
        yield f'        "{octal}"'


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
