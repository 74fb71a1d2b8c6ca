"""Return whether this Python can be started from a snapshot, and how it is linked in.

Prints "yes" and one linker argument a line, or "no" and the reason. A snapshot needs the
interpreter as a static library with everything built in that the hot verbs import: a shared object
lies at another address in each process. Debian and Ubuntu build theirs like that; a plain
`./configure` does not.

Run by meson and tools/prepare: `python support.py`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# thaw.c names what it relies on besides CPython's public interface, and where that was checked.
CHECKED: Final = ("3.11", "3.12", "3.13")
MACHINES: Final = ("x86_64",)
BUILTINS: Final = {
    "_blake2", "_signal", "_socket", "_struct", "_thread", "array", "errno", "fcntl", "gc", "math",
    "posix", "select", "time",
}  # fmt: skip
# Libraries that modules of such a libpython need; linked statically, since each shared one costs
# every start a tenth of a millisecond.
STATIC: Final = ("z", "expat")


def variable(name: str) -> str:
    """Return a variable of the build of this Python, "" if it has none of that name."""
    return str(sysconfig.get_config_var(name) or "")


def static_library() -> str:
    """Return the path of libpython.a, "" when there is none."""
    name = f"libpython{sysconfig.get_config_var('LDVERSION') or variable('VERSION')}.a"
    for folder in (variable("LIBPL"), variable("LIBDIR")):
        path = os.path.join(folder, name)
        if folder and os.path.exists(path):
            return path
    return ""


def static_archive(name: str) -> str:
    """Return the path of lib`name`.a as the compiler knows it, "" when it does not."""
    compiler = os.environ.get("CC", "cc").split()
    try:
        done = subprocess.run(  # noqa: S603  # the compiler that is going to be used
            [*compiler, f"-print-file-name=lib{name}.a"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    path = done.stdout.strip()
    return path if os.path.isabs(path) else ""


def complaint() -> str:
    """Return why this Python cannot be started from a snapshot, "" when it can."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.implementation.name != "cpython" or version not in CHECKED or variable("ABIFLAGS"):
        return f"only CPython {', '.join(CHECKED)} was checked for it, this is {version}"
    if platform.machine() not in MACHINES or platform.libc_ver()[0] != "glibc":
        return f"only {' and '.join(MACHINES)} with glibc was checked for it"
    if missing := BUILTINS - set(sys.builtin_module_names):
        return f"{sys.executable} has {', '.join(sorted(missing))} as shared objects"
    if not static_library():
        return f"no libpython{version}.a (on Debian and Ubuntu: libpython3-dev)"
    for name in STATIC:
        if not static_archive(name):
            return f"no lib{name}.a (on Debian and Ubuntu: libpython3-dev brings it)"
    return ""


def link_arguments() -> list[str]:
    """Return the linker's arguments beside libpython: a fixed address, symbols for extensions."""
    return [
        "-no-pie",
        "-Wl,--export-dynamic",  # extension modules find the interpreter's functions here
        "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free",  # heap.c
        "-Wl,--build-id=sha1",  # key.c
        "-Wl,-z,relro,-z,lazy",  # thaw.c: `.data` begins behind the addresses of functions
        *(static_archive(name) for name in STATIC),
        # libm only for what libm.c lacks, and not for what the C library has as well.
        "-lc",
        "-Wl,--as-needed,-lm,--no-as-needed",
    ]


def main() -> None:
    """Print the answer."""
    problem = complaint()
    print("\n".join(["no", problem] if problem else ["yes", *link_arguments()]))


if __name__ == "__main__":
    main()
