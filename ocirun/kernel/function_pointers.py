"""cffi itself, for calls through function pointers, which `linked` does not support.

Cold: only needed to compile a seccomp filter.
"""

from __future__ import annotations

from ocirun.kernel import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ffi: Any
lib: Any
if hasattr(_native, "load_cffi"):  # the launcher that starts from a snapshot
    ffi, lib = _native.load_cffi()
else:
    ffi, lib = _native.ffi, _native.lib
