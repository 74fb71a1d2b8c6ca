"""Which file args[0] means, found before the start gate so that `create` fails and not `start`.

Callers map the words of these errors to exit statuses: "not found" to 127, "permission denied"
and "is a directory" to 126.

Source: execve(2); docs/runc-compat/cli.md#matched-texts.
"""

from __future__ import annotations

import errno
import os
import stat

from ocirun.errors import SetupError, kernel_words
from ocirun.kernel.paths import may_execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def find_program(name: str, search_path: bytes | None, own_executable: tuple[int, int]) -> bytes:
    """Find the executable that `name` means, as the user whose rights we have by now.

    `search_path` is PATH of the container's environment, None when it has none. A name with a
    slash is taken relative to the working directory. `own_executable` is (st_dev, st_ino) of our
    /proc/self/exe, which is refused.

    Returns:
        The path to give to execve.

    Raises:
        SetupError: with runc's words.
    """
    raw = os.fsencode(name)
    if b"/" in raw:
        _check(name, raw, own_executable)
        return raw
    # An empty folder in PATH is the working directory; an empty PATH is none at all.
    for folder in search_path.split(b":") if search_path else ():
        candidate = (folder or b".") + b"/" + raw
        try:
            _check(name, candidate, own_executable)
        except SetupError:  # not here, or not for us: the next folder may have it
            continue
        return candidate
    raise SetupError(f'exec: "{name}": executable file not found in $PATH', errno.ENOENT)


def _check(name: str, path: bytes, own_executable: tuple[int, int]) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        _refuse(name, f"stat {os.fsdecode(path)}: {kernel_words(error)}", error.errno)
    if stat.S_ISDIR(found.st_mode):
        # runc's words of both ages: clients of either give status 126 for one of them.
        _refuse(name, "is a directory: permission denied", errno.EACCES)
    if not stat.S_ISREG(found.st_mode) or not may_execute(path, found.st_mode):
        _refuse(name, "permission denied", errno.EACCES)
    if (found.st_dev, found.st_ino) == own_executable:
        # Security: CVE-2019-5736. The file is sealed and cannot be written through, but running
        # the runtime itself inside the container is never what the image's author should get.
        _refuse(name, "permission denied: it is the runtime's own executable", errno.EACCES)


def _refuse(name: str, words: str, number: int | None) -> NoReturn:
    raise SetupError(f'exec: "{name}": {words}', number or 0)
