"""An OCI container runtime in Python.

`import ocirun` gives `run`, `Container`, `Spec`, `close_helper` and the error classes of
`ocirun.errors`; each is loaded when it is first asked for, because every command line imports this
package too. The manual is docs/library.md.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun import aio
    from ocirun.errors import (
        CalledProcessError,
        ContainerError,
        ContainerExists,
        ContainerNotFound,
        DamagedRecord,
        ExitStatusUnknown,
        HookError,
        InitDied,
        InitError,
        NotAContainer,
        OcirunError,
        ProtocolError,
        SetupError,
        SpecError,
        TimeoutExpired,
        UnknownVerb,
        UnsupportedError,
        UsageError,
        WrongStatus,
    )
    from ocirun.library.container import Container
    from ocirun.library.helper import close_helper
    from ocirun.library.process import ExecProcess, Process
    from ocirun.library.run import CompletedContainer, run
    from ocirun.library.spec import Spec
    from ocirun.library.streams import DEVNULL, PIPE, STDOUT

__all__ = (
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "CalledProcessError",
    "CompletedContainer",
    "Container",
    "ContainerError",
    "ContainerExists",
    "ContainerNotFound",
    "DamagedRecord",
    "ExecProcess",
    "ExitStatusUnknown",
    "HookError",
    "InitDied",
    "InitError",
    "NotAContainer",
    "OcirunError",
    "Process",
    "ProtocolError",
    "SetupError",
    "Spec",
    "SpecError",
    "TimeoutExpired",
    "UnknownVerb",
    "UnsupportedError",
    "UsageError",
    "WrongStatus",
    "aio",
    "close_helper",
    "run",
)

# Where what is not an error comes from.
_LIBRARY = {
    "Container": "container",
    "ExecProcess": "process",
    "Process": "process",
    "CompletedContainer": "run",
    "run": "run",
    "Spec": "spec",
    "close_helper": "helper",
    "DEVNULL": "streams",
    "PIPE": "streams",
    "STDOUT": "streams",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ocirun' has no attribute {name!r}")
    from importlib import import_module

    if name == "aio":
        return import_module("ocirun.aio")
    home = f"ocirun.library.{_LIBRARY[name]}" if name in _LIBRARY else "ocirun.errors"
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
