"""bpf(2): load programs, attach them to a cgroup, list, read and detach them.

`union bpf_attr` has a layout for each command. All fields that we use have 4 or 8 bytes, so a
layout is a list of field sizes.

Source: bpf(2); kernel include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import os
import sys
from errno import EPERM

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BPF_PROG_LOAD: Final = 5
BPF_PROG_ATTACH: Final = 8
BPF_PROG_DETACH: Final = 9
BPF_PROG_GET_FD_BY_ID: Final = 13
BPF_OBJ_GET_INFO_BY_FD: Final = 15
BPF_PROG_QUERY: Final = 16

BPF_PROG_TYPE_CGROUP_DEVICE: Final = 15
BPF_CGROUP_DEVICE: Final = 6
BPF_F_ALLOW_MULTI: Final = 2
BPF_F_REPLACE: Final = 4
BPF_F_QUERY_EFFECTIVE: Final = 1

BPF_OBJ_NAME_LEN: Final = 16
INSTRUCTION_BYTES: Final = 8
# Kernel: BPF_CGROUP_MAX_PROGS, how many programs one cgroup may have.
MAX_PROGRAMS: Final = 64
MAX_EFFECTIVE: Final = 1024  # how many we make room for, of a cgroup and all above it
PROGRAM_COUNT_AT: Final = 24  # of prog_cnt in the layout of BPF_PROG_QUERY
# Of xlated_prog_len, xlated_prog_insns and name in struct bpf_prog_info, and the bytes up to there.
LENGTH_AT, INSTRUCTIONS_AT, NAME_AT = 20, 32, 64
INFO_BYTES: Final = NAME_AT + BPF_OBJ_NAME_LEN
# Kernel: newer kernels may write fields behind those that we use (query.revision), so each layout
# has room for them. Older kernels accept zeros there.
ATTRIBUTES_BYTES: Final = 128


def prog_load(
    kind: int, instructions: bytes, license_name: str, name: str, log: bytearray | None = None
) -> int:
    """Load a program into the kernel.

    `instructions` are `struct bpf_insn` in the byte order of this machine; `name` is what tools
    show, at most 15 letters. With `log` the verifier writes its reasoning there, as text that ends
    at the first NUL, whether it accepts the program or not.

    Returns a descriptor the caller closes.

    Raises:
        OSError: EPERM without the right; EACCES or EINVAL when the verifier refuses.
    """
    code = ffi.new("char[]", instructions)
    words = ffi.new("char[]", os.fsencode(license_name))
    room = ffi.new("char[]", len(log)) if log is not None else None
    attributes = (
        _u32(kind)
        + _u32(len(instructions) // INSTRUCTION_BYTES)
        + _pointer(code)
        + _pointer(words)
        + (_u32(1) + _u32(len(room)) + _pointer(room) if room is not None else bytes(16))
        + bytes(8)  # kern_version, prog_flags
        + os.fsencode(name)[: BPF_OBJ_NAME_LEN - 1].ljust(BPF_OBJ_NAME_LEN, b"\0")
    )
    try:
        what = f"bpf(BPF_PROG_LOAD, {{prog_type={kind}, insn_cnt={len(instructions) // 8}}})"
        return _bpf(BPF_PROG_LOAD, attributes, what)[0]
    finally:
        if log is not None:
            log[:] = ffi.buffer(room)


def prog_attach(
    cgroup_fd: int, prog_fd: int, attach_type: int, flags: int, replaced_fd: int = 0
) -> None:
    """Attach a program to a cgroup, which keeps it until the cgroup is removed.

    Descriptors are borrowed. With BPF_F_REPLACE (Linux 5.6) the program of `replaced_fd` makes way
    in the same moment.

    Raises:
        OSError: EPERM without the right, or where the programs that are there do not allow more.
    """
    numbers = (cgroup_fd, prog_fd, attach_type, flags, replaced_fd)
    what = f"bpf(BPF_PROG_ATTACH, {numbers})"
    _bpf(BPF_PROG_ATTACH, b"".join(map(_u32, numbers)), what)


def prog_detach(cgroup_fd: int, prog_fd: int, attach_type: int) -> None:
    """Detach a program from a cgroup; descriptors are borrowed.

    Raises:
        OSError: ENOENT when it is not attached.
    """
    numbers = (cgroup_fd, prog_fd, attach_type)
    what = f"bpf(BPF_PROG_DETACH, {numbers})"
    _bpf(BPF_PROG_DETACH, b"".join(map(_u32, numbers)), what)


def prog_query(cgroup_fd: int, attach_type: int, *, effective: bool = False) -> list[int]:
    """Return the ids of the programs attached to this cgroup itself, in the order they run in.

    With `effective` also those of the cgroups above it, which apply too.

    Raises:
        OSError: EPERM without the right; EINVAL on a kernel without cgroup programs.
    """
    most = MAX_EFFECTIVE if effective else MAX_PROGRAMS
    ids = ffi.new("uint32_t[]", most)
    attributes = (
        _u32(cgroup_fd)
        + _u32(attach_type)
        + _u32(BPF_F_QUERY_EFFECTIVE if effective else 0)
        + bytes(4)  # attach_flags, which the kernel writes
        + _pointer(ids)
        + _u32(most)
    )
    what = f"bpf(BPF_PROG_QUERY, ({cgroup_fd}, {attach_type}))"
    _, answer = _bpf(BPF_PROG_QUERY, attributes, what)
    count = int.from_bytes(answer[PROGRAM_COUNT_AT : PROGRAM_COUNT_AT + 4], sys.byteorder)
    return list(ids)[:count]


def prog_get_fd_by_id(prog_id: int) -> int:
    """Open a program by its id; the caller closes the descriptor.

    Raises:
        OSError: ENOENT when it is gone; EPERM without CAP_SYS_ADMIN in the first user namespace.
    """
    return _bpf(BPF_PROG_GET_FD_BY_ID, _u32(prog_id), f"bpf(BPF_PROG_GET_FD_BY_ID, {prog_id})")[0]


def prog_instructions(prog_fd: int) -> tuple[str, bytes]:
    """Return the name of a program and its instructions, as the verifier has left them.

    The descriptor is borrowed. Instructions are `struct bpf_insn`, in this machine's byte order.

    Raises:
        OSError: EPERM if the kernel keeps the instructions to itself: without CAP_SYS_ADMIN, or
            where they are blinded (net.core.bpf_jit_harden).
    """
    length = int.from_bytes(_info(prog_fd, 0, None)[LENGTH_AT : LENGTH_AT + 4], sys.byteorder)
    code = ffi.new("char[]", length) if length else None
    info = _info(prog_fd, length, code)
    shown = int.from_bytes(info[INSTRUCTIONS_AT : INSTRUCTIONS_AT + 8], sys.byteorder)
    if code is None or not shown:
        raise oserror(EPERM, f"bpf(BPF_OBJ_GET_INFO_BY_FD, {prog_fd})")
    name = os.fsdecode(info[NAME_AT:INFO_BYTES].partition(b"\0")[0])
    return name, bytes(ffi.buffer(code))


def _info(prog_fd: int, length: int, code: object | None) -> bytes:
    """Return struct bpf_prog_info; the kernel writes `length` bytes of instructions to `code`."""
    asked = bytes(LENGTH_AT) + _u32(length) + bytes(8)
    asked += _pointer(code) if code is not None else bytes(8)
    info = ffi.new("char[]", asked.ljust(INFO_BYTES, b"\0"))
    attributes = _u32(prog_fd) + _u32(INFO_BYTES) + _pointer(info)
    _bpf(BPF_OBJ_GET_INFO_BY_FD, attributes, f"bpf(BPF_OBJ_GET_INFO_BY_FD, {prog_fd})")
    return bytes(ffi.buffer(info)[:INFO_BYTES])


def _bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """Call bpf(2); return its result, and the layout as the kernel changed it."""
    layout = ffi.new("char[]", attributes.ljust(ATTRIBUTES_BYTES, b"\0"))
    result = lib.sys_bpf(command, layout, ATTRIBUTES_BYTES)
    if result < 0:
        raise oserror(ffi.errno, what)
    return result, ffi.buffer(layout)[:ATTRIBUTES_BYTES]


def _u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _pointer(buffer: object) -> bytes:
    return int(ffi.cast("uintptr_t", buffer)).to_bytes(8, sys.byteorder)
