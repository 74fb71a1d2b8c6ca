"""Which configuration file CRIU reads beside its own defaults.

Source: criu.org/Configuration_files; docs/runc-compat/checkpoint.md#criu.
"""

from __future__ import annotations

import os
from stat import S_IWGRP, S_IWOTH

from ocirun.errors import SetupError
from ocirun.kernel.regular_files import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

ANNOTATION: Final = "org.criu.config"
FOLDER: Final = "/etc/criu"
NAMES: Final = ("ocirun.conf", "runc.conf")
WRITABLE_BY_OTHERS: Final = S_IWGRP | S_IWOTH


def config_file(annotations: Mapping[str, str]) -> str:
    """Return its path, "" for none: that of the annotation, else the first existing one.

    Security: the file names scripts that CRIU runs as root. An annotation chooses among those
    that an administrator has put into the folder.

    Raises:
        SetupError: the annotation names another file, or one that others could have written.
    """
    if ANNOTATION not in annotations:
        paths = (f"{FOLDER}/{name}" for name in NAMES)
        return next((path for path in paths if os.path.exists(path)), "")
    path = annotations[ANNOTATION]
    if path and (fault := _fault_of(path)):
        raise SetupError(f'annotation {ANNOTATION}: "{path}" {fault}')
    return path


def _fault_of(path: str) -> str:
    """Return why CRIU must not read `path`; "" when it may.

    CRIU opens it by its path once more: nobody else can exchange a file in this folder.
    """
    folder, _, name = path.rpartition("/")
    if folder != FOLDER or name in ("", ".", ".."):
        return f"is not a file in {FOLDER}, where the administrator puts those that may be chosen"
    opened = []
    try:
        opened.append(os.open(FOLDER, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        opened.append(open_regular(name, dir_fd=opened[0]))
        for fd, what in zip(opened, (FOLDER, path), strict=True):
            found = os.fstat(fd)
            if found.st_uid != os.geteuid() or found.st_mode & WRITABLE_BY_OTHERS:
                owner = f"owner {found.st_uid}, mode {found.st_mode & 0o7777:#o}"
                return f"is refused: {what} may be written to by others ({owner})"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    finally:
        for fd in opened:
            os.close(fd)
    return ""
