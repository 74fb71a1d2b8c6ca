"""Which devices may be used: v2, where a program attached to the cgroup decides.

The cgroup holds the program: it goes away with it, and there is nothing for us to keep or undo.

Source: runtime-spec config-linux.md#allowed-device-list; kernel admin-guide/cgroup-v2.rst, device
controller.
"""

from __future__ import annotations

import os
from errno import ENOENT, EPERM

from ocirun.cgroups.v2.devicefilter import program_of
from ocirun.errors import SetupError, kernel_words
from ocirun.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Resources

NAME: Final = "ocirun_devices"
LICENSE: Final = "Apache-2.0"
LOG_BYTES: Final = 65536
LOG_LINES: Final = 3


def wants(resources: Resources) -> bool:  # noqa: ARG001
    """Return True: even without rules only the implied devices are allowed."""
    return True


def apply(directory: str, resources: Resources) -> None:
    """Attach the program of the rules in place of what is attached to this cgroup.

    Programs of cgroups above stay and are asked as well, each of them can forbid.

    Raises:
        SetupError: a rule is about something that is not a device, or the kernel refused.
    """
    program = program_of(resources.get("devices") or ())
    what = f"limiting the devices of {directory}"
    try:
        cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _replace(cgroup_fd, program, what)
        finally:
            os.close(cgroup_fd)
    except OSError as error:
        raise SetupError(f"{what}: {kernel_words(error)}", error.errno or 0) from error


def _replace(cgroup_fd: int, program: bytes | None, what: str) -> None:
    """Put the program there and take the old ones off, with no moment in between without any.

    Without a program, which is for rules that allow everything, the old ones are only taken off.
    """
    old_fds: list[int] = []
    new_fd = -1
    try:
        if program is not None:
            new_fd = _load(program, what)
        # One at a time: those that are open are closed also when the next cannot be opened.
        for prog_id in _attached(cgroup_fd, needed=program is not None):
            old_fds.append(bpf.prog_get_fd_by_id(prog_id))  # noqa: PERF401
        if program is not None and len(old_fds) == 1:
            flags = bpf.BPF_F_ALLOW_MULTI | bpf.BPF_F_REPLACE
            bpf.prog_attach(cgroup_fd, new_fd, bpf.BPF_CGROUP_DEVICE, flags, old_fds[0])
            return
        # Order: the new one first. Each program can only forbid, so both together are safe.
        if program is not None:
            bpf.prog_attach(cgroup_fd, new_fd, bpf.BPF_CGROUP_DEVICE, bpf.BPF_F_ALLOW_MULTI)
        for old_fd in old_fds:
            _detach(cgroup_fd, old_fd)
    finally:
        for fd in (new_fd, *old_fds):
            if fd >= 0:
                os.close(fd)


def _attached(cgroup_fd: int, *, needed: bool) -> list[int]:
    """List the programs there are; unless `needed`, a kernel that has none to offer has none."""
    try:
        return bpf.prog_query(cgroup_fd, bpf.BPF_CGROUP_DEVICE)
    except OSError:
        if needed:
            raise
        return []


def _detach(cgroup_fd: int, prog_fd: int) -> None:
    """Detach a program; somebody else may have done it already."""
    try:
        bpf.prog_detach(cgroup_fd, prog_fd, bpf.BPF_CGROUP_DEVICE)
    except OSError as error:
        if error.errno != ENOENT:
            raise


def _load(program: bytes, what: str) -> int:
    """Load the program; where the verifier refuses, ask it why.

    Returns a descriptor the caller closes.

    Raises:
        OSError: EPERM, we have not the right. SetupError: refused; ends with the verifier's words.
    """
    kind = bpf.BPF_PROG_TYPE_CGROUP_DEVICE
    try:
        return bpf.prog_load(kind, program, LICENSE, NAME)
    except OSError as error:
        if error.errno == EPERM:
            raise
    log = bytearray(LOG_BYTES)
    try:
        return bpf.prog_load(kind, program, LICENSE, NAME, log)
    except OSError as error:
        lines = os.fsdecode(bytes(log).partition(b"\0")[0]).strip().splitlines()
        sentence = f"{what}: loading their eBPF program: {kernel_words(error)}"
        said = "; ".join(lines[-LOG_LINES:])
        refusal = SetupError(f"{sentence}: {said}" if said else sentence, error.errno or 0)
        for line in lines:
            refusal.add_note(line)
        raise refusal from error
