"""Before the clone: from the profile to what init loads, as it travels in sendConfig.

Source: runtime-spec config-linux.md#seccomp.
"""

from __future__ import annotations

from ocirun.errors import Problem, UnsupportedError
from ocirun.kernel.libseccomp import UNKNOWN, Library
from ocirun.kernel.seccomp import (
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    knows_flags,
)
from ocirun.security.seccomp.cache import Cache
from ocirun.spec.seccomp import DEFAULT_FLAGS, FLAGS, NOTIFY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.spec.types import Seccomp

POINTER: Final = "/linux/seccomp"
NOTIFYING_API: Final = 5  # of seccomp_api_get(3)


def prepare_filter(
    profile: Seccomp, root: str, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Compile `profile`, or find it compiled below the state root `root`.

    Returns:
        What load_filter takes, as JSON: {"program": hexadecimal BPF, "flags": of seccomp(2)}.

    Raises:
        UnsupportedError: there is no libseccomp, or it or the kernel lacks what the profile asks.
        SetupError: the filter cannot be compiled.
    """
    try:
        library = Library()
    except FileNotFoundError as error:
        message = f"needs {error}, which is not installed"
        remedy = "install libseccomp (on Debian and Ubuntu the package libseccomp2)"
        raise UnsupportedError([Problem(POINTER, message, remedy)]) from error
    flags = _flags(profile, library)
    # Not uname(2): a filter around the runtime may refuse it.
    machine = f"{library.native_architecture():#x}"
    cache = Cache(root, profile, f"{library.version()} {library.api_level()} {machine}")
    program = cache.load()
    if program is None:
        from ocirun.security.seccomp.compile import compile_profile

        program = compile_profile(profile, library, tell)
        cache.store(program)
    return {"program": program.hex(), "flags": flags}


def refuse_unknown_calls(profile: Seccomp) -> None:
    """Refuse names that libseccomp does not know, which are skipped otherwise.

    Raises:
        UnsupportedError: with each such name.
    """
    library = Library()
    problems = [
        Problem(f"{POINTER}/syscalls/{index}/names", f"the system call {name} is unknown")
        for index, rule in enumerate(profile.get("syscalls") or ())
        for name in rule["names"]
        if library.system_call(name) == UNKNOWN
    ]
    if problems:
        raise UnsupportedError(problems)


def asks_an_agent(profile: Seccomp) -> bool:
    """Return whether some call of the container is decided by the agent at listenerPath."""
    return any(rule["action"] == NOTIFY for rule in profile.get("syscalls") or ())


def _flags(profile: Seccomp, library: Library) -> int:
    """Return the flags of seccomp(2), each known to this kernel."""
    words = profile.get("flags", DEFAULT_FLAGS)
    flags = 0
    for word in words:
        flags |= FLAGS[word]
    if not asks_an_agent(profile):
        # It is about waiting for an agent.
        return flags & ~SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER
    if library.api_level() < NOTIFYING_API:
        message = f"libseccomp {library.version()} knows no {NOTIFY}"
        raise UnsupportedError([Problem(POINTER, message, "2.5 does")])
    if not knows_flags(flags):
        message = "this kernel does not know SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
        raise UnsupportedError([Problem(f"{POINTER}/flags", message, "Linux 5.19 does")])
    return flags
