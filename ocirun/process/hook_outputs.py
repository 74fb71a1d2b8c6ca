"""Files that hooks write to: crun's annotations run.oci.hooks.stdout and run.oci.hooks.stderr.

Loaded only for a config.json that has one of them. Without them, the end of a failing hook's output
is part of the error.

Security: an annotation makes root append to a file of the host. So only a regular file is opened,
and a link in its last component is not followed (SECURITY.md).

Source: crun(1), "run.oci.hooks.stdout=FILE".
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

STDOUT: Final = "run.oci.hooks.stdout"
STDERR: Final = "run.oci.hooks.stderr"
FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class HookOutputs:
    """The output files of a container's hooks; owns its descriptors, -1 without a file."""

    __slots__ = ("stderr", "stdout")

    def __init__(self, stdout: int = -1, stderr: int = -1) -> None:
        self.stdout = stdout
        self.stderr = stderr

    def or_else(self, default: int) -> tuple[int, int]:
        """Return a hook's stdout and stderr descriptors; `default` for those without a file."""
        return (
            self.stdout if self.stdout >= 0 else default,
            self.stderr if self.stderr >= 0 else default,
        )

    def fds(self) -> dict[str, int]:
        """Return the descriptors (borrowed) that there are, by name: stdout, stderr."""
        fds = {"stdout": self.stdout, "stderr": self.stderr}
        return {name: fd for name, fd in fds.items() if fd >= 0}

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)
        self.stdout = self.stderr = -1


def open_outputs(annotations: Mapping[str, str]) -> HookOutputs:
    """Open the files that the two annotations name.

    Raises:
        SetupError: a path is not absolute, or its file is not regular or cannot be opened.
    """
    outputs = HookOutputs()
    try:
        if path := annotations.get(STDOUT):
            outputs.stdout = _open(path, STDOUT)
        if path := annotations.get(STDERR):
            outputs.stderr = _open(path, STDERR)
    except BaseException:
        outputs.close()
        raise
    return outputs


def _open(path: str, annotation: str) -> int:
    if not path.startswith("/"):
        raise SetupError(f"the annotation {annotation} must be an absolute path, not {path!r}")
    with doing(f"opening {path}, the annotation {annotation}"):
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(22, "not a regular file")
        fd = os.open(path, FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(22, "not a regular file")
    return fd
