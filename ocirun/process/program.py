"""Which file args[0] means, found before the start gate so that `create` fails and not `start`.

Callers map the words of these errors to exit statuses: "not found" to 127, "permission denied"
and "is a directory" to 126.

Source: execve(2); elf(5); docs/runc-compat/cli.md#matched-texts.
"""

from __future__ import annotations

import errno
import os
import stat

from ocirun.errors import SetupError, kernel_words
from ocirun.kernel.paths import may_execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

# elf(5): e_machine, by the names of uname(2); PT_INTERP of a little-endian file.
ELF_MACHINES: Final = {
    0x03: "i386", 0x15: "ppc64", 0x16: "s390x", 0x28: "arm", 0x3E: "x86_64", 0xB7: "aarch64",
    0xF3: "riscv64",
}  # fmt: skip
PT_INTERP: Final = b"\3\0\0\0"


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
    # An empty folder in PATH is the working directory; an empty PATH has no folder.
    for folder in search_path.split(b":") if search_path else ():
        candidate = (folder or b".") + b"/" + raw
        try:
            _check(name, candidate, own_executable)
        except SetupError:  # not here, or not for us: the next folder may have it
            continue
        return candidate
    raise SetupError(f'exec: "{name}": executable file not found in $PATH', errno.ENOENT)


def why_refused(path: bytes, number: int | None) -> str:
    """Return why execve has refused a file that is there, as ": reason"; "" if it is unknown.

    The file is the image's: it is opened without waiting, and its first bytes are all that is
    read of it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return ""
            head = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return ""
    if number == errno.ENOEXEC:
        return _why_no_program(head)
    needed = _interpreter(head)
    if number != errno.ENOENT or not needed:
        return ""
    return f": its interpreter {os.fsdecode(needed)} is not there"


def _why_no_program(head: bytes) -> str:
    if head[:4] != b"\x7fELF":
        return ": it is neither a program nor a script that begins with #!"
    made_for = ELF_MACHINES.get(head[18] | head[19] << 8) if len(head) > 19 else None
    try:
        here = os.uname().machine
    except OSError:  # the container's filter, which is loaded by now, may refuse it
        return ""
    if made_for is None or made_for == here:
        return ""
    return f": it is made for {made_for}, this machine is {here}"


def _interpreter(head: bytes) -> bytes:
    """Return what execve looks for to run a script or a program that is linked dynamically."""
    if head[:2] == b"#!":
        words = head[2:].split(b"\n", 1)[0].split()
        return words[0] if words else b""
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:  # 64 bits; others are rare by now
        return b""
    table = int.from_bytes(head[32:40], "little")
    for at in range(table, table + 56 * (head[56] | head[57] << 8), 56):
        if head[at : at + 4] == PT_INTERP:
            start = int.from_bytes(head[at + 8 : at + 16], "little")
            return head[start:].split(b"\0", 1)[0]
    return b""


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
