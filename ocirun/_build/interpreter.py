"""Report the interpreter that the launcher is built for to meson, or what is missing.

Prints `NAME=value` lines, one for each name of launcher_config.h. A Python that cannot be embedded
gets one sentence on stderr and status 1. Run by meson: `python interpreter.py`.
"""

from __future__ import annotations

import os
import sys
import sysconfig


def below(folder: str, prefix: str) -> str:
    """Return `folder` relative to `prefix`; folders elsewhere keep their own path."""
    return os.path.relpath(folder, prefix) if folder.startswith(prefix) else folder


def variable(name: str) -> str:
    """Return a variable of the build of this Python, "" if it has none of that name."""
    return str(sysconfig.get_config_var(name) or "")


def facts() -> dict[str, str]:
    """Collect what is compiled into the launcher."""
    prefix = variable("installed_base") or sys.base_prefix
    base = {"base": prefix, "platbase": prefix, "installed_base": prefix}
    stdlib = sysconfig.get_path("stdlib", vars=base)
    dynload = variable("DESTSHARED") or os.path.join(stdlib, "lib-dynload")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return {
        "PYTHON_VERSION": version,
        "PYTHON_NAME": os.path.basename(stdlib),
        "PYTHON_SONAME": variable("INSTSONAME"),
        "PYTHON_PREFIX": prefix,
        "PYTHON_LIBDIR_BELOW": below(variable("LIBDIR"), prefix),
        "PYTHON_MULTIARCH": variable("MULTIARCH"),
        "PYTHON_STDLIB_BELOW": below(stdlib, prefix),
        "PYTHON_DYNLOAD_BELOW": below(dynload, prefix),
    }


def complaint(include: str) -> str:
    """Return why this Python cannot be embedded; "" when it can."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    library = os.path.join(variable("LIBDIR"), variable("INSTSONAME"))
    if not os.path.exists(os.path.join(include, "Python.h")):
        return (
            f"no Python.h in {include}: install the headers of Python {version} "
            "(on Debian and Ubuntu: python3-dev)"
        )
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return (
            f"{sys.executable} was built without a shared libpython, which ocirun embeds: use one "
            "built with --enable-shared (on Debian and Ubuntu: python3 with libpython3-dev)"
        )
    if not os.path.exists(library):
        return f"no {library}: install it (on Debian and Ubuntu: libpython3-dev)"
    return ""


def main() -> None:
    """Print the facts, or exit with the complaint."""
    include = sysconfig.get_path("include")
    if problem := complaint(include):
        sys.exit(problem)
    for name, value in facts().items():
        print(f"{name}={value}")


if __name__ == "__main__":
    main()
