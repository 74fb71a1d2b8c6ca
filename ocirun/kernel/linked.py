"""`ocirun.kernel._native` in the launcher that starts from a snapshot: the calls without cffi.

The calls are linked into that launcher (`_build/linked.py` writes them from cffi's declarations).
This module gives them the part of cffi's interface that `kernel/` uses on the hot path; what it
lacks (calls through pointers) is `load_cffi`'s. `ocirun.cli.warmup` puts it in `_native`'s place.

Source: cffi.readthedocs.io, "FFI Interface".
"""

from __future__ import annotations

from array import array

import _ocirun_calls as lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# C type: the type code of the array that holds its values.
_CODES: Final = {
    "char": "B",
    "int": "i",
    "uint32_t": "I",
    "int64_t": "q",
    "uint64_t": "Q",
    "unsigned long": "L",
}
_SIZES: Final = {code: array(code).itemsize for code in _CODES.values()}

_zeroed: Final[dict[str, array[int]]] = {}  # Speed: by kind, to be copied


class _FFI:
    """Memory for calls, as arrays; a pointer parameter takes an array, bytes, or NULL."""

    NULL = None

    @property
    def errno(self) -> int:
        """The errno of the last call."""
        return int(lib.get_errno())

    def new(self, kind: str, initial: Any = None) -> array[int]:  # noqa: ANN401  # cffi's
        """Return zeroed memory of `kind` ("int *", "uint32_t[]", "char[64]"), initialised.

        `initial` is a number for one value, for an open array its length or its values; bytes for
        characters, which get a NUL.
        """
        if initial is None and (nothing := _zeroed.get(kind)):
            return nothing[:]
        memory = self._make(kind, initial)
        if initial is None:
            _zeroed[kind] = memory[:]
        return memory

    def _make(self, kind: str, initial: Any) -> array[int]:  # noqa: ANN401  # cffi's
        if kind.endswith(" *"):
            return array(_CODES[kind[:-2]], [initial or 0])
        name, _, length = kind.removesuffix("]").partition("[")
        code = _CODES[name]
        if isinstance(initial, bytes):
            return array(code, initial + b"\0")
        if length:
            count = int(length)
        elif isinstance(initial, int):
            count = initial
        else:
            count = len(initial)
        values = () if initial is None or isinstance(initial, int) else initial
        memory = array(code, values)
        memory.frombytes(bytes((count - len(values)) * _SIZES[code]))
        return memory

    def cast(self, kind: str, value: array[int]) -> int:
        """Return the address of memory, for the structures that hold one."""
        if kind != "uintptr_t":
            raise NotImplementedError(f"cast to {kind}")
        return value.buffer_info()[0]

    def string(self, data: array[int]) -> bytes:
        """Return the bytes before the first NUL."""
        return data.tobytes().partition(b"\0")[0]

    def sizeof(self, kind: str) -> int:
        """Return the bytes of a value of `kind`."""
        return array(_CODES[kind]).itemsize

    def buffer(self, data: array[int]) -> bytes:
        """Return a copy of the bytes."""
        return data.tobytes()


ffi = _FFI()


def load_cffi() -> tuple[Any, Any]:
    """Return cffi's own (ffi, lib), from the extension module this one stands for.

    Raises:
        ImportError: it is not installed, or cffi is not.
    """
    import sys

    import ocirun.kernel

    for finder in sys.meta_path:
        spec = finder.find_spec("ocirun.kernel._native", ocirun.kernel.__path__)
        if spec is not None and spec.loader is not None:
            module: Any = spec.loader.create_module(spec)
            spec.loader.exec_module(module)
            return module.ffi, module.lib
    raise ImportError("the extension module ocirun.kernel._native is missing")
