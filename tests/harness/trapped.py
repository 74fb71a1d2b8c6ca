"""A root in which every file an interpreter or a C library might reach for is a trap.

After pivot_root the runtime's `sys.path`, its NSS, its dynamic loader, its locale and iconv
lookups all name files of the image. Here each such name exists, and opening one is seen from
outside: an inotify watch on a folder reports opens of its entries in every mount namespace.

Source: ARCHITECTURE.md#plan-then-act; CVE-2019-14271.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from harness.bundle import Bundle
from harness.machine import REPO, libc_call

IN_OPEN, IN_ISDIR, IN_NONBLOCK = 0x20, 0x40000000, 0o4000
VERSIONS = [f"3.{minor}" for minor in range(11, 16)]
SUFFIXES = (".py", ".pyc", ".so", ".abi3.so", ".cpython-311-x86_64-linux-gnu.so")
LIBRARY_FOLDERS = (
    "lib",
    "lib64",
    "usr/lib",
    "usr/lib64",
    "usr/local/lib",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
)
LIBRARIES = (
    *(f"libnss_{name}.so.2" for name in ("files", "dns", "compat", "systemd", "myhostname")),
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libgcc_s.so.1", "libz.so.1"),
    *("libseccomp.so.2", "libselinux.so.1", "libapparmor.so.1", "ld-linux-x86-64.so.2"),
    *(f"libpython{version}.so.1.0" for version in VERSIONS),
)
OTHER_FILES = (
    "etc/nsswitch.conf",
    "etc/ld.so.cache",
    "etc/ld.so.preload",
    "etc/localtime",
    "etc/locale.alias",
    "etc/host.conf",
    "etc/resolv.conf",
    "usr/lib/locale/locale-archive",
    "usr/lib/locale/C.utf8/LC_CTYPE",
    "usr/lib/locale/C.UTF-8/LC_CTYPE",
    "usr/share/locale/locale.alias",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
    "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
    "usr/lib/gconv/gconv-modules",
    "usr/share/zoneinfo/UTC",
)
# What the interpreter keeps in folders of their own: codecs are looked up by name, late.
SUBMODULES = (
    *(f"encodings/{name}.py" for name in ("__init__", "aliases", "ascii", "idna", "latin_1")),
    *(f"encodings/{name}.py" for name in ("utf_8", "utf_16", "utf_32", "punycode", "cp1252")),
    *("collections/__init__.py", "collections/abc.py", "json/__init__.py", "json/decoder.py"),
    *("importlib/__init__.py", "importlib/abc.py", "ctypes/__init__.py", "logging/__init__.py"),
    *("re/__init__.py", "lib-dynload/_json.so", "lib-dynload/_socket.so", "lib-dynload/_struct.so"),
    *("site-packages/ocirun/__init__.py", "site-packages/_cffi_backend.so", "site.py"),
)
# Listing these folders is the program's good right; opening the traps in them is not.
SHARED_FOLDERS = ("", "etc", "tmp")


def interpreter_folders(interpreter: str = sys.executable) -> set[str]:
    """Folders, relative to a root, where this interpreter looks for modules on this machine."""
    found = {"", str(REPO).lstrip("/")}
    ask = "import sys, os; print(os.pathsep.join([*sys.path, sys.prefix, sys.base_prefix]))"
    for words in ([], ["-I", "-S"]):
        done = subprocess.run(
            [interpreter, *words, "-c", ask], capture_output=True, text=True, check=True
        )
        found |= {path.lstrip("/") for path in done.stdout.strip().split(os.pathsep) if path}
    return {folder for folder in found if not folder.endswith(".zip")}


class TrappedRoot:
    """Traps in a bundle's rootfs and the watch over them; `touched()` tells what was opened."""

    def __init__(self, bundle: Bundle, cwd: str = "/", interpreter: str = sys.executable) -> None:
        self.bundle = bundle
        self._names: dict[int, str] = {}
        self._fd = libc_call("inotify_init1", IN_NONBLOCK)
        self._traps: set[tuple[int, int]] = set()
        self._spare = 0
        self._made: set[Path] = set()
        self.count = 0
        for folder in sorted(interpreter_folders(interpreter) | {cwd.lstrip("/")}):
            self._trap_modules(folder, SUFFIXES)
        for version in VERSIONS:
            for top in ("usr/lib", "usr/local/lib"):
                self._trap_modules(f"{top}/python{version}", (".py", ".so"))
                for path in SUBMODULES:
                    self._put(f"{top}/python{version}/{path}")
        for folder in LIBRARY_FOLDERS:
            for name in LIBRARIES:
                self._put(f"{folder}/{name}")
        for path in OTHER_FILES:
            self._put(path)
        for folder, _, _ in os.walk(bundle.rootfs):
            relative = os.path.relpath(folder, bundle.rootfs)
            if not relative.startswith(("proc", "sys", "dev", "bin")):
                watch = libc_call("inotify_add_watch", self._fd, os.fsencode(folder), IN_OPEN)
                self._names[watch] = "" if relative == "." else relative
        self.touched()  # what building itself did

    def touched(self) -> list[str]:
        """Paths inside the root that were opened since the last question."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._fd, 1 << 20)
            except BlockingIOError:
                return sorted(found)
            offset = 0
            while offset < len(data):
                watch, mask, _, length = struct.unpack_from("iIII", data, offset)
                name = data[offset + 16 : offset + 16 + length].rstrip(b"\0").decode()
                offset += 16 + length
                folder = self._names[watch]
                path = os.path.normpath(f"{folder}/{name}").lstrip("/")
                if mask & IN_ISDIR:
                    # Reported for the folder itself and by its parent.
                    if not name and folder not in SHARED_FOLDERS:
                        found.add(f"{folder}/")
                elif self._is_trap(path):
                    found.add(path)

    def _is_trap(self, path: str) -> bool:
        try:
            found = (self.bundle.rootfs / path).stat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) in self._traps

    def _trap_modules(self, folder: str, suffixes: tuple[str, ...]) -> None:
        for name in sys.stdlib_module_names | {"ocirun", "cffi", "_cffi_backend", "sitecustomize"}:
            for suffix in suffixes:
                self._put(f"{folder}/{name}{suffix}")
        for name in (
            "pyvenv.cfg",
            "python._pth",
            "python311.zip",
            "__pycache__/os.cpython-311.pyc",
        ):
            self._put(f"{folder}/{name}")

    def _put(self, path: str) -> None:
        """Make one trap: a hard link, of which a file may have some ten thousand."""
        place = self.bundle.rootfs / path.lstrip("/")
        if place.parent not in self._made:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(place.parent)
        if self._spare == 0:
            self._trap = self.bundle.path / f"trap{len(self._traps)}"
            self._trap.write_text('open("/TRAPPED", "a").write(__name__ + "\\n")\n')
            self._trap.chmod(0o755)
            self._traps.add((self._trap.stat().st_dev, self._trap.stat().st_ino))
            self._spare = 30_000
        try:
            os.link(self._trap, place)
        except FileExistsError:
            return
        self._spare -= 1
        self.count += 1

    def __enter__(self) -> TrappedRoot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)


# inotify_add_watch takes a uint32_t; ctypes would pass a Python int as a C int, which is the same
# 32 bits on every machine this runs on.
assert ctypes.sizeof(ctypes.c_int) == 4
