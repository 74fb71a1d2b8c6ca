"""Imports from the archive of the one-file build: what is not frozen, without any file.

The archive is a part of the program, which the built-in module `_ocirun_archive` shows as memory:
eight bytes with the length of the index, the index (compressed, for marshal: MODULES, EXTENSIONS,
FILES), then the parts it names. Code is compressed and for marshal too. An extension module is
copied into a memory file, because the dynamic linker loads only files.

Source: memfd_create(2); docs.python.org library/importlib.html; docs/one-file.md.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from _frozen_importlib import ModuleSpec

import _ocirun_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any, Final
    from zipfile import Path

MFD_EXEC: Final = 0x10  # Kernel: from 6.3; EINVAL before
NAME: Final = "<ocirun>"  # what a module of the archive was loaded from, in its repr


class Archive:
    """Finds and loads modules, for sys.meta_path."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        length = int.from_bytes(view[:8], "little")
        self.start = 8 + length
        # Names, with offset and length; a module also has whether it is a package.
        index = marshal.loads(zlib.decompress(view[8 : self.start]))  # noqa: S302  # our own
        self.modules: dict[str, tuple[int, int, bool]] = index[0]
        self.extensions: dict[str, tuple[int, int]] = index[1]
        self.files: tuple[int, int] = index[2]

    def read(self, offset: int, length: int) -> bytes:
        """Return a part, decompressed."""
        return zlib.decompress(self.view[self.start + offset : self.start + offset + length])

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # names are enough
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how to load the module `name`, None if it is not here."""
        if found := self.modules.get(name):
            return ModuleSpec(name, self, origin=NAME, is_package=found[2])  # type: ignore[arg-type]
        if name in self.extensions:
            return ModuleSpec(name, Extension(self), origin=NAME)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102  # our own

    def get_code(self, name: str) -> CodeType:
        """Return the code of a module."""
        offset, length, _ = self.modules[name]
        code: CodeType = marshal.loads(self.read(offset, length))  # noqa: S302
        return code

    def get_source(self, name: str) -> None:
        """Return None: the source is not here."""

    def get_resource_reader(self, name: str) -> Resources:
        """Return the data files of the package `name`, for importlib.resources."""
        return Resources(self, name)

    def folder(self, path: str) -> Path:
        """Return the folder `path` of data files, such as "ocirun/schemas"."""
        import io  # cold: for reports on a document
        from zipfile import Path, ZipFile

        return Path(ZipFile(io.BytesIO(self.read(*self.files))), path + "/")


class Resources:
    """The data files of a package."""

    def __init__(self, archive: Archive, package: str) -> None:
        self.archive = archive
        self.package = package

    def files(self) -> Path:
        """Return the package's folder."""
        return self.archive.folder(self.package.replace(".", "/"))


class Extension:
    """Loads an extension module from a memory file."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load the shared object.

        Raises:
            ImportError: the dynamic linker refuses it.
        """
        import _imp

        fd = _memory_file(spec.name)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(self.archive.read(*self.archive.extensions[spec.name]))
            # Kernel: descriptors come again, but the linker takes equal paths for the same object.
            slashes = "/" * (1 + len(_LOADED))
            _LOADED.append(spec.name)
            place: Any = ModuleSpec(spec.name, self, origin=f"/proc/self/fd{slashes}{fd}")  # type: ignore[arg-type]
            return _imp.create_dynamic(place)
        finally:
            os.close(fd)

    def exec_module(self, module: ModuleType) -> None:
        """Initialise the module."""
        import _imp

        _imp.exec_dynamic(module)


def _memory_file(name: str) -> int:
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | MFD_EXEC)
    except OSError as error:
        from errno import EINVAL

        if error.errno != EINVAL:
            raise ImportError(f"a memory file for the module {name}: {error.strerror}") from error
    return os.memfd_create(name, os.MFD_CLOEXEC)


def install() -> None:
    """Append the archive to what imports ask: for what is not built in or frozen."""
    sys.meta_path.append(ARCHIVE)


_LOADED: Final[list[str]] = []  # extensions, in the order of loading
ARCHIVE: Final = Archive(_ocirun_archive.view())
