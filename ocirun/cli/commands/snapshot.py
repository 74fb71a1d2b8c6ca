"""ocirun snapshot: make the image from which the launcher starts an initialised interpreter.

The launcher itself writes it (`_build/snapshot/dump.c`), in a process without environment, far from
the caller's folder and streams. This module gives it a file, and puts the file in its place when
it is whole: no process ever sees half an image, and one that is killed leaves nothing behind.

Source: open(2), O_TMPFILE; docs/fast-start.md.
"""

from __future__ import annotations

import os
import sys
from errno import EISDIR, ENOENT, EOPNOTSUPP

from ocirun.cli.output import write
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

PLACE: Final = ("lib", "ocirun", "snapshot")  # below the prefix; image.h has it too
# The audit refuses a number that looks like a pointer; it will not look like one twice.
TRIES: Final = 3


def run(call: Call) -> int:
    """Make the image, in place of one that is there."""
    del call
    if "_ocirun_archive" in sys.builtin_module_names:
        raise SetupError("this ocirun is one file that contains its snapshot: nothing to make")
    folder = os.path.dirname(sys.executable)
    launcher = os.path.join(folder, "ocirun")
    if not os.path.exists(os.path.join(folder, "ocirun-cold")):
        reason = sys._xoptions.get("cold-start") or "it was built without"
        raise SetupError(f"this ocirun cannot start from a snapshot: {reason}")
    place = os.path.join(os.path.dirname(folder), *PLACE)
    with doing(f"making the folder of {place}"):
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    for left in reversed(range(TRIES)):
        said = _make(launcher, place)
        if not said:
            write(f"{place}\n")
            return 0
        if not left:
            raise SetupError(f"making a snapshot: {said}")
    return 1


def _make(launcher: str, place: str) -> str:
    """Have `launcher` write an image, and put it at `place`; return what it complained about."""
    import subprocess  # cold: once per installation

    image_fd, name = _open_image(place)
    try:
        done = subprocess.run(  # noqa: S603  # our own launcher
            [launcher, f"--write-snapshot={image_fd}", sys.version],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"LD_BIND_NOW": "1"},  # dump.c, find_calls; dropped before Python comes up
            cwd="/",
            pass_fds=[image_fd],
            check=False,
        )
        if done.returncode:
            return done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ")
        with doing(f"putting the snapshot at {place}"):
            if not name:
                name = f"{place}.{os.getpid()}"
                # Python: without src_dir_fd it calls link(2), which would link the link itself.
                os.link(f"/proc/self/fd/{image_fd}", name, src_dir_fd=image_fd)
            os.rename(name, place)
            name = ""
    finally:
        os.close(image_fd)
        if name:
            os.unlink(name)
    return ""


def _open_image(place: str) -> tuple[int, str]:
    """Open an empty file, readable by its owner alone, on the file system of `place`.

    Returns its descriptor and its name, which is "" where the file system has files without one.
    """
    folder = os.path.dirname(place)
    with doing(f"creating a file in {folder}"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), ""
        except OSError as error:
            if error.errno not in {EISDIR, ENOENT, EOPNOTSUPP}:
                raise
        name = f"{place}.{os.getpid()}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(name, flags, 0o600), name
