"""Write the modules of ocirun as C, so that the launcher brings them along ready to run.

Finding a module by path costs a dozen system calls and as much Python; with eighty of them that is
more than half of what `create` needs. Python's frozen importer asks a table in memory first. The
sources are installed all the same, for readers, for `import ocirun` and for the cold modules; the
table is used only beside the very package it was made from, which frozen.id identifies.

Run by meson: `python freeze.py PACKAGE FROZEN.c FROZEN.id`; with --one-file before these by
tools/onefile/build.py, whose program has no folders.

Source: docs.python.org c-api/import.html#c.PyImport_FrozenModules.
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import importlib.util
import marshal
import os
import sys
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# Left to the ordinary importer: loaded seldom, and in need of their docstrings or their __file__.
COLD: Final = {"ocirun.__main__", "ocirun.cli.app", "ocirun.spec.schema", "ocirun.trace.page"}
# And what only containers of another engine need, whose start takes seconds.
COLD_PACKAGE: Final = "ocirun.engines.vm"

# The codecs every start of Python needs; the rest of the package is still found by path.
STDLIB: Final = {"encodings": True, "encodings.aliases": False, "encodings.utf_8": False}

# A frozen package has no path of its own, or a wrong one below the standard library: this leads
# to its modules that are not frozen.
# sys.path is written by the launcher (embed.c): the library's extensions, the library, our package.
STDLIB_INDEX: Final = 1
PACKAGE_INDEX: Final = 2
PATH_LINE: Final = "__path__[:] = [__import__('sys').path[{index}] + '/{folder}']\n"


class Module:
    """One module: its name, whether it is a package, its marshalled code."""

    def __init__(self, name: str, *, is_package: bool, path: str, root_index: int | None) -> None:
        self.name = name
        self.is_package = is_package
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
        # Annotations stay text without loading __future__, which has to be found by path.
        future = [
            n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"
        ]
        tree.body = [node for node in tree.body if node not in future]
        if is_package and root_index is not None:
            line = PATH_LINE.format(index=root_index, folder=name.replace(".", "/"))
            tree.body += ast.parse(line).body
        # Security: a name in <…> is one that a traceback looks for in no folder.
        code = compile(
            tree,
            f"<frozen {name}>",
            "exec",
            flags=__future__.annotations.compiler_flag if future else 0,
            dont_inherit=True,
            optimize=2,
        )
        self.code = marshal.dumps(with_shared_texts(code))


def with_shared_texts(code: CodeType) -> CodeType:
    """Return `code` with all its texts interned: loaded, equal ones of all modules are one object.

    Speed: a verb writes to each object that it uses.
    """
    constants = tuple(
        with_shared_texts(one)
        if isinstance(one, CodeType)
        else sys.intern(one)
        if type(one) is str
        else one
        for one in code.co_consts
    )
    return code.replace(
        co_consts=constants,
        co_name=sys.intern(code.co_name),
        co_qualname=sys.intern(code.co_qualname),
    )


def is_cold(name: str) -> bool:
    """Return whether a module is left to the ordinary importer."""
    return name in COLD or name.startswith(COLD_PACKAGE)


def modules_of(package: str, root_index: int | None) -> Iterator[Module]:
    """Return the hot modules below the folder `package`, in a stable order."""
    top = os.path.dirname(os.path.abspath(package))
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(set(folders) - {"_build", "__pycache__"})
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            if suffix != ".py":
                continue
            parts = os.path.relpath(folder, top).split(os.sep)
            name = ".".join(parts if stem == "__init__" else [*parts, stem])
            if not is_cold(name):
                yield Module(
                    name,
                    is_package=stem == "__init__",
                    path=os.path.join(folder, file),
                    root_index=root_index,
                )


def stdlib_modules(root_index: int | None) -> Iterator[Module]:
    """Return the modules of STDLIB from the Python that runs this."""
    for name, is_package in STDLIB.items():
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue  # already frozen in this Python
        yield Module(name, is_package=is_package, path=spec.origin, root_index=root_index)


def literal(code: bytes) -> Iterator[str]:
    """Return `code` as C string literals: what a compiler reads fastest."""
    for start in range(0, len(code), 64):
        octal = "".join(f"\\{byte:03o}" for byte in code[start : start + 64])
        yield f'    "{octal}"\n'


def source(modules: list[Module], identity: str) -> Iterator[str]:
    """Return the C source of the table."""
    yield "/* Written by ocirun/_build/freeze.py. */\n\n"
    yield '#include <Python.h>\n\n#include "frozen.h"\n\n'
    yield f'const char frozen_id[] = "{identity}";\n\n'
    for number, module in enumerate(modules):
        yield f"static const unsigned char code_{number}[] = /* {module.name} */\n"
        yield from literal(module.code)
        yield "    ;\n"
    yield "\nconst struct _frozen frozen_modules[] = {\n"
    for number, module in enumerate(modules):
        yield (
            f'    {{.name = "{module.name}", .code = code_{number}, '
            f".size = {len(module.code)}, .is_package = {int(module.is_package)}}},\n"
        )
    yield "    {0}};\n"


def main(package: str, c_file: str, id_file: str, *, one_file: bool) -> None:
    """Write the table and its identity."""
    indices = (None, None) if one_file else (STDLIB_INDEX, PACKAGE_INDEX)
    modules = [*stdlib_modules(indices[0]), *modules_of(package, indices[1])]
    content = b"".join(module.name.encode() + module.code for module in modules)
    identity = hashlib.sha256(content).hexdigest()[:32]
    with open(c_file, "w", encoding="ascii") as file:
        file.writelines(source(modules, identity))
    with open(id_file, "w", encoding="ascii") as file:
        file.write(identity)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(*words[-3:], one_file=words[0] == "--one-file")
