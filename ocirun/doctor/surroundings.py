"""Checks of the surroundings: state root, limits of this process, other programs.

Source: getrlimit(2), statvfs(3), sd_bus_open_system(3), sd_notify(3), criu(8).
"""

from __future__ import annotations

import _socket
import os
import resource
import sys

from ocirun.container.store import default_root
from ocirun.doctor.probe import DEGRADED, Lacks, Probe
from ocirun.errors import SetupError
from ocirun.kernel.process import without_clone3
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

ENOUGH_FILES: Final = 256
ENOUGH_BYTES: Final = 1 << 20
CRIU_SECONDS: Final = 20
NEWER_CRIU: Final = "Install criu 3.18 or newer, the first with --unprivileged."
# The standard devices, which are bound from the host where none can be made: major, minor.
DEVICES: Final = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
RDONLY: Final = 1  # ST_RDONLY of statvfs


def python() -> str:
    """Return the version of the interpreter."""
    return ".".join(map(str, sys.version_info[:3]))


def fast_start() -> str:
    """Return whether this process came up from a snapshot, and why not.

    Raises:
        Lacks: it could have, with a snapshot that fits.

    Source: docs/fast-start.md.
    """
    reason = str(sys._xoptions.get("cold-start", ""))
    if not reason:
        if "ocirun.cli.warmup" in sys.modules:
            return "from a snapshot"
        reason = "this is not the launcher"
    if os.path.basename(sys.executable) == "ocirun-cold":
        raise Lacks(reason)
    return f"not possible: {reason}"


def state_root(root: str | None) -> Callable[[], str]:
    """Return a check of the state root; None is the default of this user."""

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
        return path if nearest == path else f"{path}, which can be created"

    return look


def limits() -> str:
    """Check the resource limits of this process.

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
    """Connect to the bus of this user's systemd.

    Raises:
        Lacks: there is no socket, or no systemd.
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
    """Connect to NOTIFY_SOCKET if it is set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return "not set"
    _connect("\0" + address[1:] if address[0] == "@" else address, _socket.SOCK_DGRAM)
    return address


def _connect(address: str, kind: int) -> None:
    connection = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(address)
    finally:
        connection.close()


def devices() -> str:
    """Look at the standard devices of the host.

    Raises:
        Lacks: one is missing, or another file has its name.

    Source: null(4), full(4), random(4), tty(4).
    """
    wrong = []
    for name, numbers in DEVICES.items():
        path = f"/dev/{name}"
        try:
            found = os.stat(path)
        except FileNotFoundError:
            wrong.append(f"there is no {path}")
            continue
        if found.st_mode & 0o170000 != 0o020000:
            wrong.append(f"{path} is not a character device")
        elif (os.major(found.st_rdev), os.minor(found.st_rdev)) != numbers:
            wrong.append(
                f"{path} is the device {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
            )
    if wrong:
        name = wrong[0].split("/dev/")[1].split()[0]
        major, minor = DEVICES[name]
        remedy = f"Recreate it as root: mknod -m 666 /dev/{name} c {major} {minor}."
        raise Lacks("; ".join(wrong), remedy=remedy)
    return ", ".join(DEVICES)


def criu() -> str:
    """Run `criu check`.

    Raises:
        Lacks: there is no criu, or the check fails.
    """
    import subprocess

    path = find_in_path("criu")
    if path is None:
        raise Lacks("there is no criu in PATH")
    words = [path, "check", "--unprivileged"] if os.geteuid() != 0 else [path, "check"]
    try:
        done = without_clone3(
            lambda: subprocess.run(  # noqa: S603  # found in PATH, as for checkpoint
                words,
                capture_output=True,
                timeout=CRIU_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        )
    except subprocess.TimeoutExpired as error:
        raise Lacks(f"criu check has not ended after {CRIU_SECONDS} s") from error
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    if done.returncode != 0:
        if any("unrecognized option" in line for line in said):
            raise Lacks(f"{path} has no check for ordinary users", remedy=NEWER_CRIU)
        # It is installed: what it lacks, only it can say.
        answer = said[-1] if said else f"exit status {done.returncode}"
        raise Lacks(f"criu check: {answer}", remedy=f"{path} check -v4 has details.")
    return f"{path}: {said[-1] if said else 'good'}"


def machines() -> str:
    """Look for what the vm engine needs.

    Raises:
        Lacks: QEMU, virtiofsd, the kernel or the initial RAM disk is missing, or we are not root.

    Source: docs/vm.md#requirements.
    """
    from ocirun.engines.vm.machine import hardware_of

    if os.geteuid() != 0:
        raise Lacks("the vm engine needs root", remedy="Call it as root.")
    try:
        hardware = hardware_of({})  # type: ignore[typeddict-item]  # that of a bundle without wishes
    except SetupError as error:
        raise Lacks(str(error)) from error
    return f"{hardware.hypervisor}, {'on KVM' if hardware.has_kvm else 'emulated'}"


def ps() -> str:
    """Return the path of ps.

    Raises:
        Lacks: it is not in PATH.
    """
    path = find_in_path("ps")
    if path is None:
        raise Lacks("there is no ps in PATH")
    return path


def probes(root: str | None) -> tuple[Probe, ...]:
    """Return the checks; `root` is the state root, None for the default."""
    return (
        Probe(
            "Python",
            python,
            "",
            "",
            did="read the version of the interpreter",
        ),
        Probe(
            "state root",
            state_root(root),
            "No container can be created.",
            "Use --root with a directory of this user, or set XDG_RUNTIME_DIR.",
            needed=True,
            did="looked at the nearest directory of the state root that is there",
        ),
        Probe(
            "fast start",
            fast_start,
            "Each command takes some milliseconds longer.",
            "Run `ocirun snapshot` as the owner of the installation.",
            without=DEGRADED,
            did="looked at how this process was started",
        ),
        Probe(
            "limits",
            limits,
            "Creating a container with many mounts or hooks may fail.",
            "ulimit -n 1024, or LimitNOFILE= in the unit.",
            without=DEGRADED,
            did="read RLIMIT_NOFILE and RLIMIT_NPROC",
        ),
        Probe(
            "systemd bus",
            bus,
            "The systemd cgroup driver does not work.",
            "Use cgroupfs, which is the default.",
            did="looked for systemd, and connected to its bus",
        ),
        Probe(
            "NOTIFY_SOCKET",
            notify_socket,
            "start and run warn, and nobody is told when the container is ready.",
            "Unset NOTIFY_SOCKET, or make it reachable.",
            without=DEGRADED,
            did="connected to NOTIFY_SOCKET",
        ),
        Probe(
            "devices",
            devices,
            "Containers that get this device from the host cannot be created or misbehave.",
            "Recreate it as root with mknod.",
            without=DEGRADED,
            did="looked at the standard devices in /dev",
        ),
        Probe(
            "criu",
            criu,
            "Containers cannot be checkpointed.",
            "Install criu.",
            did="looked for criu in PATH, and ran criu check",
        ),
        Probe(
            "virtual machines",
            machines,
            "The engine vm runs nothing.",
            "docs/vm.md has what it needs: QEMU, virtiofsd, a kernel and the guest's program.",
            did="looked for QEMU, virtiofsd, and what machines boot; tried to open /dev/kvm",
        ),
        Probe(
            "ps",
            ps,
            "ocirun ps works with --format json only.",
            "Install procps.",
            without=DEGRADED,
            did="looked for ps in PATH",
        ),
    )
