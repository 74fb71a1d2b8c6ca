"""An OCI container runtime in Python.

`import ocirun` gives `ocirun.Container` and the error classes of `ocirun.errors`; each is loaded
when it is first asked for, because every command line imports this package too.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.api import Container
    from ocirun.errors import (
        ContainerError,
        ContainerExists,
        ContainerNotFound,
        DamagedRecord,
        HookError,
        InitDied,
        InitError,
        NotAContainer,
        OcirunError,
        ProtocolError,
        SetupError,
        SpecError,
        UnknownVerb,
        UnsupportedError,
        UsageError,
        WrongStatus,
    )

__all__ = (
    "Container",
    "ContainerError",
    "ContainerExists",
    "ContainerNotFound",
    "DamagedRecord",
    "HookError",
    "InitDied",
    "InitError",
    "NotAContainer",
    "OcirunError",
    "ProtocolError",
    "SetupError",
    "SpecError",
    "UnknownVerb",
    "UnsupportedError",
    "UsageError",
    "WrongStatus",
)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ocirun' has no attribute {name!r}")
    if name == "Container":
        from ocirun.container.api import Container

        value: object = Container
    else:
        from ocirun import errors

        value = getattr(errors, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
