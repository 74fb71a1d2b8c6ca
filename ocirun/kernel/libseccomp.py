"""libseccomp, loaded when a container has a filter: compiles rules to classic BPF.

The library is optional, so it is neither linked nor are its headers needed: dlopen, and each
function by its name and its signature in the stable ABI (libseccomp.so.2).

Source: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3), seccomp_attr_set(3).
"""

from __future__ import annotations

import os
import sys
from errno import EEXIST, EINVAL

from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, Final, Self

    # Argument index, operator, value (of MASKED_EQ: the mask), second value; values are uint64.
    Condition = tuple[int, int, int, int]

NAME: Final = "libseccomp.so.2"
RTLD_LAZY: Final = 1

SIGNATURES: Final = {
    "seccomp_version": "unsigned int *(*)(void)",
    "seccomp_api_get": "unsigned int (*)(void)",
    "seccomp_arch_native": "uint32_t (*)(void)",
    "seccomp_arch_resolve_name": "uint32_t (*)(const char *)",
    "seccomp_syscall_resolve_name": "int (*)(const char *)",
    "seccomp_syscall_resolve_name_arch": "int (*)(uint32_t, const char *)",
    "seccomp_syscall_resolve_num_arch": "char *(*)(uint32_t, int)",
    "seccomp_init": "void *(*)(uint32_t)",
    "seccomp_release": "void (*)(void *)",
    "seccomp_arch_add": "int (*)(void *, uint32_t)",
    "seccomp_attr_set": "int (*)(void *, int, uint32_t)",
    "seccomp_rule_add_array": "int (*)(void *, uint32_t, int, unsigned int, const char *)",
    "seccomp_export_bpf": "int (*)(const void *, int)",
}

SCMP_FLTATR_CTL_OPTIMIZE: Final = 8  # from 2.5.0
BINARY_TREE: Final = 2
MOST_CALLS: Final = 1024  # numbers of system calls end far below, on every 64-bit architecture
UNKNOWN: Final = -1  # __NR_SCMP_ERROR
BEYOND_ANY_FILTER: Final = 1 << 17  # more bytes than BPF_MAXINSNS instructions take


class Library:
    """The loaded library.

    Raises:
        FileNotFoundError: it is not installed, or lacks a function of SIGNATURES.
    """

    def __init__(self) -> None:
        from ocirun.kernel.function_pointers import (  # cold: filters are compiled once and kept
            ffi,
            lib,
        )

        handle = lib.dlopen(NAME.encode(), RTLD_LAZY)
        if handle == ffi.NULL:
            raise FileNotFoundError(NAME)
        self._calls: dict[str, Any] = {}
        for name, signature in SIGNATURES.items():
            address = lib.dlsym(handle, name.encode())
            if address == ffi.NULL:
                raise FileNotFoundError(f"{NAME}: {name}")
            self._calls[name] = ffi.cast(signature, address)

    def version(self) -> str:
        """Return the version, such as 2.5.4."""
        numbers = self._calls["seccomp_version"]()
        return ".".join(str(numbers[index]) for index in range(3))

    def api_level(self) -> int:
        """Return the level of library and kernel: 3 has LOG, 5 NOTIFY, 6 notifications with TSYNC.

        Source: seccomp_api_get(3).
        """
        return int(self._calls["seccomp_api_get"]())

    def architecture(self, name: str) -> int:
        """Return the number of the architecture `name` ("x86_64"); 0 if it is unknown."""
        return int(self._calls["seccomp_arch_resolve_name"](name.encode()))

    def native_architecture(self) -> int:
        """Return the number of the native architecture."""
        return int(self._calls["seccomp_arch_native"]())

    def system_call(self, name: str) -> int:
        """Return the number of the system call `name` for rules.

        One that only other architectures have gets a number below UNKNOWN, for them; one that
        this library does not know gets UNKNOWN.
        """
        return int(self._calls["seccomp_syscall_resolve_name"](os.fsencode(name)))

    def system_call_of(self, architecture: int, name: str) -> int:
        """Return the number of the call `name` on `architecture`; negative if there is none."""
        resolve = self._calls["seccomp_syscall_resolve_name_arch"]
        return int(resolve(architecture, os.fsencode(name)))

    def native_calls(self) -> dict[str, int]:
        """Return the number of each system call of the native architecture, by its name.

        The library's memory of the names, some kilobytes, is not freed: only commands that end
        at once ask.

        Source: seccomp_syscall_resolve_name(3).
        """
        from ocirun.kernel.function_pointers import ffi  # cold: see __init__

        native = self.native_architecture()
        resolve = self._calls["seccomp_syscall_resolve_num_arch"]
        found = {}
        for number in range(MOST_CALLS):
            name = resolve(native, number)
            if name != ffi.NULL:
                found[ffi.string(name).decode()] = number
        return found

    def filter(self, default_action: int) -> Filter:
        """Begin a filter for the native architecture; use it in a `with`."""
        return Filter(self._calls, default_action)


class Filter:
    """A filter being written; owns the library's memory of it."""

    def __init__(self, calls: dict[str, Any], default_action: int) -> None:
        self._calls = calls
        self._context = calls["seccomp_init"](default_action)
        if not self._context:
            raise oserror(EINVAL, f"seccomp_init({default_action:#x})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calls["seccomp_release"](self._context)

    def add_architecture(self, architecture: int) -> None:
        """Add an architecture for the rules that follow; adding one twice is no error."""
        self._call("seccomp_arch_add", architecture, fine=EEXIST)

    def use_binary_tree(self) -> None:
        """Compile to a binary tree instead of a list."""
        self._call("seccomp_attr_set", SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE)

    def add_rule(self, action: int, system_call: int, conditions: Sequence[Condition] = ()) -> None:
        """Add a rule: `action` for `system_call` if all `conditions` hold, on each architecture.

        The action must not be the default one.
        """
        order = sys.byteorder
        packed = b"".join(
            index.to_bytes(4, order)
            + operator.to_bytes(4, order)
            + value.to_bytes(8, order)
            + value_two.to_bytes(8, order)
            for index, operator, value, value_two in conditions
        )
        count = len(conditions)
        self._call("seccomp_rule_add_array", action, system_call, count, packed)

    def export(self) -> bytes:
        """Return the program, an array of struct sock_filter."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            self._call("seccomp_export_bpf", fd)
            return os.pread(fd, BEYOND_ANY_FILTER, 0)
        finally:
            os.close(fd)

    def _call(self, name: str, *arguments: int | bytes, fine: int = 0) -> None:
        result = self._calls[name](self._context, *arguments)
        if result < 0 and -result != fine:
            message = ", ".join(str(argument) for argument in arguments)
            raise oserror(-result, f"{name}(filter, {message})")
