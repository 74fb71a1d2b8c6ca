"""What the functions for system calls share: texts as bytes, and the OSError of a failed call."""

from __future__ import annotations

import os
import sys
from errno import ENOSYS, EPERM

from ocirun.kernel._native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What a seccomp filter around us answers for a call that it does not allow, as a rule.
REFUSED: Final = (EPERM, ENOSYS)
_ENCODING: Final = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def encoded(text: str) -> bytes:
    """Return `text` as the kernel takes it, as os.fsencode does in four times as many steps."""
    return text.encode(*_ENCODING)


def oserror(errno: int, call: str, path: str | bytes | None = None) -> OSError:
    """Return the OSError of `errno`, with `call` (as strace prints it) as a note.

    A function, because Python chooses the subclass of OSError by errno. Where the call is one that
    safety rests on and that is kept from us altogether, its text says so.
    """
    message = os.strerror(errno)
    if errno in REFUSED:
        message += unavailable_hint(call.partition("(")[0])
    error = OSError(errno, message, path)
    error.add_note(call)
    return error


def unavailable_hint(name: str) -> str:
    """Return, in brackets, what to do about a system call that ocirun itself may not make.

    "" if it may make `name`, or if _build/native_fallbacks.py does not know it.
    """
    if not lib.is_unavailable(name.encode()):
        return ""
    return (
        f" ({name} is kept from ocirun itself: allow it in the seccomp filter that ocirun runs"
        " under, or run Linux 5.12 or newer)"
    )
