"""What is around: where records are kept, limits of this process, other programs that help.

Source: getrlimit(2), statvfs(3), sd_bus_open_system(3), sd_notify(3), criu(8).
"""

from __future__ import annotations

import _socket
import os
import resource
import sys

from ocirun.container.store import default_root
from ocirun.doctor.probe import DEGRADED, Lacks, Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

ENOUGH_FILES: Final = 256
ENOUGH_BYTES: Final = 1 << 20
CRIU_SECONDS: Final = 20
RDONLY: Final = 1  # ST_RDONLY of statvfs


def python() -> str:
    """Name the interpreter."""
    return ".".join(map(str, sys.version_info[:3]))


def fast_start() -> str:
    """Return whether this process came up from a snapshot, and why not.

    Raises:
        Lacks: it could have, with a snapshot that fits.

    Source: docs/fast-start.md.
    """
    if "ocirun.cli.warmup" in sys.modules:
        return "from a snapshot"
    reason = str(sys._xoptions.get("cold-start") or "this is not the launcher")
    if os.path.basename(sys.executable) == "ocirun-cold":
        raise Lacks(reason)
    return f"not possible: {reason}"


def state_root(root: str | None) -> Callable[[], str]:
    """Give what looks at the folder for records; None is this user's default."""

    def look() -> str:
        path = nearest = root or default_root()
        while not os.path.isdir(nearest):
            nearest = os.path.dirname(nearest)
        found = os.statvfs(nearest)
        if found.f_flag & RDONLY:
            raise Lacks(f"{nearest} is read-only")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise Lacks(f"{nearest} is not writable for uid {os.geteuid()}")
        if found.f_bavail * found.f_frsize < ENOUGH_BYTES or (found.f_files and not found.f_favail):
            raise Lacks(f"the file system of {nearest} is full")
        return path if nearest == path else f"{path}, which can be made"

    return look


def limits() -> str:
    """Look at the limits that a runtime meets.

    Raises:
        Lacks: one is low.
    """
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < ENOUGH_FILES:
        raise Lacks(f"{files} open files (of {most_files})")
    return f"{files} open files, {_count(resource.RLIMIT_NPROC)} processes"


def _count(number: int) -> str:
    soft = resource.getrlimit(number)[0]
    return "any number of" if soft == resource.RLIM_INFINITY else str(soft)


def bus() -> str:
    """Connect to the bus of the systemd that this user's containers would belong to.

    Raises:
        Lacks: there is no socket.
    """
    if os.geteuid() == 0:
        paths = ["/run/dbus/system_bus_socket", "/run/systemd/private"]
    else:
        folder = os.environ.get("XDG_RUNTIME_DIR")
        if not folder:
            raise Lacks("XDG_RUNTIME_DIR is not set")
        paths = [f"{folder}/bus", f"{folder}/systemd/private"]
    if not os.path.isdir("/run/systemd/system"):
        raise Lacks("this machine was not booted with systemd")
    for path in paths:
        if os.path.exists(path):
            _connect(path, _socket.SOCK_STREAM)
            return path
    raise Lacks(f"there is no {paths[0]}")


def notify_socket() -> str:
    """Connect to NOTIFY_SOCKET, if somebody has set it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return "not set: nobody waits for readiness"
    _connect("\0" + address[1:] if address[0] == "@" else address, _socket.SOCK_DGRAM)
    return address


def _connect(address: str, kind: int) -> None:
    connection = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(address)
    finally:
        connection.close()


def criu() -> str:
    """Run `criu check`.

    Raises:
        Lacks: there is no criu, or it finds something missing.
    """
    import subprocess
    from shutil import which

    path = which("criu")
    if path is None:
        raise Lacks("there is no criu in PATH")
    words = [path, "check", "--unprivileged"] if os.geteuid() != 0 else [path, "check"]
    try:
        done = subprocess.run(  # noqa: S603  # found in PATH, as whoever asks would find it
            words, capture_output=True, timeout=CRIU_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise Lacks(f"criu check has not ended after {CRIU_SECONDS} s") from error
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    if done.returncode != 0:
        raise Lacks(f"criu check: {said[-1] if said else done.returncode}")
    return f"{path}: {said[-1] if said else 'good'}"


def ps() -> str:
    """Find ps.

    Raises:
        Lacks: it is not there.
    """
    from shutil import which

    path = which("ps")
    if path is None:
        raise Lacks("there is no ps in PATH")
    return path


def probes(root: str | None) -> tuple[Probe, ...]:
    """Give the questions; `root` is where records are to be kept, None for the default."""
    return (
        Probe("Python", python, "", ""),
        Probe(
            "state root",
            state_root(root),
            "No container can be made.",
            "Give --root a folder of this user, or set XDG_RUNTIME_DIR to one.",
            needed=True,
        ),
        Probe(
            "fast start",
            fast_start,
            "Each command takes some milliseconds longer.",
            "Run `ocirun snapshot` as the owner of the installation.",
            without=DEGRADED,
        ),
        Probe(
            "limits",
            limits,
            "A container with many mounts or hooks may fail to be made.",
            "ulimit -n 1024, or LimitNOFILE= in the unit.",
            without=DEGRADED,
        ),
        Probe(
            "systemd bus",
            bus,
            "Cgroups cannot be made by systemd.",
            "Use cgroupfs, which is the default.",
        ),
        Probe(
            "NOTIFY_SOCKET",
            notify_socket,
            "start and run fail, because the readiness of a container cannot be told.",
            "Unset NOTIFY_SOCKET, or make it reachable.",
            without=DEGRADED,
        ),
        Probe(
            "criu",
            criu,
            "Containers cannot be checkpointed.",
            "Install criu; criu check -v4 says more.",
        ),
        Probe("ps", ps, "ps prints JSON only.", "Install procps.", without=DEGRADED),
    )
