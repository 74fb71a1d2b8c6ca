"""Write the archive of the one-file build: modules that are not frozen, extensions, data files.

Run by tools/onefile/build.py with the Python of the build. `ocirun/kernel/archive.py` reads it.
"""

from __future__ import annotations

import io
import marshal
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ocirun/_build"))

from freeze import is_cold  # of the build

# Parts of the standard library that neither ocirun nor what it imports has a use for.
UNUSED = {
    "__phello__", "antigravity", "cgi", "cgitb", "curses", "dbm", "distutils", "ensurepip",
    "ftplib", "idlelib", "imaplib", "lib2to3", "mailbox", "msilib", "multiprocessing", "nntplib",
    "poplib", "pydoc_data", "smtplib", "sqlite3", "telnetlib", "test", "this", "tkinter", "turtle",
    "turtledemo", "unittest", "venv", "wsgiref", "xmlrpc",
}  # fmt: skip
# What an extension may need of the system; others are left out.
LIBRARIES = {
    "libc.so.6", "libm.so.6", "libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1",
    "ld-linux-x86-64.so.2",
}  # fmt: skip
DATA = {".json", ".html", ".css", ".js"}


class Parts:
    """The parts of an archive, one behind the other."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.modules: dict[str, tuple[int, int, bool]] = {}
        self.extensions: dict[str, tuple[int, int]] = {}
        self.files = io.BytesIO()
        self.zip = zipfile.ZipFile(self.files, "w", zipfile.ZIP_STORED)

    def put(self, content: bytes) -> tuple[int, int]:
        """Add a part; return its offset and length."""
        packed = zlib.compress(content, 9)
        offset = len(self.content)
        self.content += packed
        return offset, len(packed)

    def put_module(self, name: str, path: Path) -> None:
        """Add a module, compiled."""
        code = compile(path.read_bytes(), f"<{name}>", "exec", dont_inherit=True, optimize=0)
        self.modules[name] = (*self.put(marshal.dumps(code)), path.name == "__init__.py")

    def put_file(self, path: Path, name: str) -> None:
        """Add a data file."""
        self.zip.writestr(zipfile.ZipInfo(name), path.read_bytes())

    def whole(self) -> bytes:
        """Return the archive."""
        self.zip.close()
        files = self.put(self.files.getvalue())
        index = zlib.compress(marshal.dumps((self.modules, self.extensions, files)), 9)
        return len(index).to_bytes(8, "little") + index + bytes(self.content)


def put_tree(parts: Parts, folder: Path, keep: set[str] | None, drop: set[str]) -> None:
    """Add what is below `folder`: names at its top in `keep` (None: all), without `drop`."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        top = inside.parts[0].split(".")[0]
        if top in drop or (keep is not None and top not in keep) or not path.is_file():
            continue
        if {"__pycache__", "tests", "testdata", "benchmarks", "site-packages", "lib-dynload",
            "dist-packages"} & set(inside.parts) or not all(
            part.isidentifier() for part in inside.parts[:-1]
        ):  # fmt: skip
            continue
        if path.suffix == ".py" and path.stem.replace("-", "_").isidentifier():
            names = inside.with_suffix("").parts
            name = ".".join(names[: -1 if names[-1] == "__init__" else None])
            if top != "ocirun" or is_cold(name):
                parts.put_module(name, path)
        elif path.suffix == ".so":
            put_extension(parts, path, [*inside.parts[:-1], path.name.split(".")[0]])
        elif path.suffix in DATA and keep is not None:
            parts.put_file(path, inside.as_posix())


def put_extension(parts: Parts, path: Path, names: list[str]) -> None:
    """Add an extension module, if this program's libraries are all that it needs."""
    if set(needed(path)) <= LIBRARIES:
        parts.extensions[".".join(names)] = parts.put(path.read_bytes())


def needed(path: Path) -> Iterator[str]:
    """Return the shared libraries that an object is linked with."""
    words = ["readelf", "--dynamic", "--wide", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        if "(NEEDED)" in line:
            yield line.partition("[")[2].rstrip("]")


def main(target: str, packages: str, *kept: str) -> None:
    """Write the archive to `target`: the standard library, and `kept` of the folder `packages`."""
    parts = Parts()
    put_tree(parts, Path(sysconfig.get_path("stdlib")), None, UNUSED)
    dynload = Path(sysconfig.get_config_var("DESTSHARED"))
    for path in sorted(dynload.glob("*.so")):
        name = path.name.split(".")[0]
        if not name.startswith(("_test", "_xx", "xx")):
            put_extension(parts, path, [name])
    put_tree(parts, Path(packages), set(kept), set())
    Path(target).write_bytes(parts.whole())


if __name__ == "__main__":
    main(*sys.argv[1:])
