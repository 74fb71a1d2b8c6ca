"""A check of the host, its result, and how a check is run in a child.

A probe makes the same call that a container would need, and changes nothing: what it creates
belongs to a child that exits, or is detached. An unexpected failure is a result too, and does not
stop the other checks.
"""

from __future__ import annotations

import os
from errno import EACCES, EIO, ENOSYS, EPERM

from ocirun.errors import SetupError, kernel_words
from ocirun.kernel.process import CLONE_NEWUSER
from ocirun.process.child import run_in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

OK: Final = "ok"
DEGRADED: Final = "degraded"  # containers run with fewer features
LACKING: Final = "lacking"
UNKNOWN: Final = "unknown"  # the probe itself failed

# Remedies that help against a call that is missing, and not against one that is refused.
OTHER_KERNEL: Final = ("Run Linux", "Use a kernel", "Raise user.max_user_namespaces")
REFUSED: Final = (
    "This kernel has it but does not permit it: look for a missing capability, a seccomp filter, "
    "a security module, or permissions of files."
)
# ENOSYS from a kernel that has the call.
FILTERED: Final = (
    "Run ocirun outside of the seccomp filter that blocks the call, or allow it there."
)


class Lacks(Exception):
    """The host lacks something: `found` is the result; the rest overrides the probe's texts.

    A remedy of "" is none: the probe's would be wrong, and nothing better is certain.
    """

    def __init__(self, found: str, consequence: str = "", remedy: str | None = None) -> None:
        super().__init__(found)
        self.consequence = consequence
        self.remedy = remedy


class Probe:
    """One check.

    `ask` returns the result in a few words, or raises Lacks or OSError; `did` is what it does, in
    the past tense. For that case `consequence` and `remedy` are a sentence each, and `without` is
    the verdict: DEGRADED or LACKING. `needed`: no container runs without it.
    """

    __slots__ = ("ask", "consequence", "did", "name", "needed", "remedy", "without")

    def __init__(
        self,
        name: str,
        ask: Callable[[], str],
        consequence: str,
        remedy: str,
        *,
        did: str = "",
        without: str = LACKING,
        needed: bool = False,
    ) -> None:
        self.name = name
        self.ask = ask
        self.consequence = consequence
        self.remedy = remedy
        self.did = did
        self.without = without
        self.needed = needed


class Finding:
    """The result of a check; `consequence` and `remedy` are "" if the verdict is OK.

    `did` is what was done, `found` what the kernel answered or was seen.
    """

    __slots__ = ("consequence", "did", "found", "group", "name", "needed", "remedy", "verdict")

    def __init__(self, group: str, probe: Probe, verdict: str, found: str) -> None:
        self.group = group
        self.name = probe.name
        self.did = probe.did
        self.verdict = verdict
        self.found = found
        self.needed = probe.needed
        self.consequence = ""
        self.remedy = ""

    def body(self) -> dict[str, Any]:
        """Return the finding as JSON, in the order of docs/doctor.md."""
        names = ("group", "name", "verdict", "did", "found", "consequence", "remedy", "needed")
        return {name: getattr(self, name) for name in names}


def ask(group: str, probe: Probe) -> Finding:
    """Run one check and return its finding; raises nothing."""
    try:
        return Finding(group, probe, OK, probe.ask())
    except (Lacks, OSError) as error:
        message = kernel_words(error) if isinstance(error, OSError) else str(error)
        finding = Finding(group, probe, probe.without, message)
        finding.consequence = getattr(error, "consequence", "") or probe.consequence
        finding.remedy = _remedy(error, probe)
        return finding
    except Exception as error:  # noqa: BLE001  # one probe must not stop the others
        finding = Finding(group, probe, UNKNOWN, f"{type(error).__name__}: {error}")
        finding.consequence = "The check itself failed."
        finding.remedy = "Report this as a bug of ocirun."
        return finding


def _remedy(error: Lacks | OSError, probe: Probe) -> str:
    """Return what helps for certain.

    Another kernel does not, where this one has the call and refuses it, nor a newer one where this
    one is new enough.
    """
    if isinstance(error, Lacks):
        if error.remedy is not None:
            return error.remedy
        return "" if _is_met(probe.remedy) else probe.remedy
    if error.errno in {EPERM, EACCES} and probe.remedy.startswith(OTHER_KERNEL):
        return REFUSED
    if _is_met(probe.remedy):
        return FILTERED if error.errno == ENOSYS else ""
    return probe.remedy


def _is_met(remedy: str) -> bool:
    """Return whether `remedy` asks for a version of the kernel that this one has."""
    words = remedy.split(maxsplit=3)
    if words[:2] != ["Run", "Linux"]:
        return False
    major, _, minor = words[2].partition(".")
    return kernel_is_at_least(int(major), int(minor))


def kernel_is_at_least(major: int, minor: int) -> bool:
    """Return whether this kernel has that version, or a newer one."""
    return kernel_version() >= (major, minor)


def kernel_version() -> tuple[int, ...]:
    """Return major and minor of the running kernel; what follows the digits is left out."""
    words = [*os.uname().release.split("."), "", ""][:2]
    return tuple(int("".join(filter(str.isdigit, word.partition("-")[0])) or 0) for word in words)


def read(path: str) -> str:
    """Read a small file of the kernel or of the host's configuration, stripped.

    Raises:
        OSError: it is not there.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(1 << 20).strip()


def in_child(act: Callable[[], object], flags: int = 0) -> None:
    """Run `act` in a child cloned with `flags`.

    For a user who is not root, the child is in a new user namespace, as a container would be.

    Raises:
        OSError: the kernel refused the clone or something that `act` did.
    """
    if os.geteuid() != 0:
        flags |= CLONE_NEWUSER

    def ask_kernel(_: int) -> None:
        try:
            act()
        except OSError as error:
            raise SetupError(kernel_words(error), error.errno or 0) from error

    try:
        run_in_child("the process", ask_kernel, flags)
    except SetupError as error:
        raise OSError(error.errno or EIO, str(error)) from error
