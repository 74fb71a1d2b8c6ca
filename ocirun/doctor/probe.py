"""One question to the host, its answer, and how a question is asked in a process of its own.

A probe makes the very call that a container would need, and changes nothing: what it makes belongs
to a child that ends, or to nobody. One that fails in a way nobody foresaw says so and stops no
other.
"""

from __future__ import annotations

import os

from ocirun.errors import OcirunError, kernel_words
from ocirun.kernel.process import CLONE_NEWUSER, clone3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, NoReturn

OK: Final = "ok"
DEGRADED: Final = "degraded"  # containers run, with less
LACKING: Final = "lacking"
UNKNOWN: Final = "unknown"  # the probe itself failed

MAX_WORDS: Final = 4096


class Lacks(Exception):
    """The host does not have it: `found` says what was seen, the rest overrides the probe's."""

    def __init__(self, found: str, consequence: str = "", remedy: str = "") -> None:
        super().__init__(found)
        self.consequence = consequence
        self.remedy = remedy


class Probe:
    """One question.

    `ask` returns what was found, in a few words, or raises Lacks or OSError. `consequence` and
    `remedy` are a sentence each, for when it does. `without` is the verdict then: DEGRADED or
    LACKING; `needed` says that no container runs at all without it.
    """

    __slots__ = ("ask", "consequence", "name", "needed", "remedy", "without")

    def __init__(
        self,
        name: str,
        ask: Callable[[], str],
        consequence: str,
        remedy: str,
        *,
        without: str = LACKING,
        needed: bool = False,
    ) -> None:
        self.name = name
        self.ask = ask
        self.consequence = consequence
        self.remedy = remedy
        self.without = without
        self.needed = needed


class Finding:
    """One answer; `consequence` and `remedy` are "" where all is well."""

    __slots__ = ("consequence", "found", "group", "name", "needed", "remedy", "verdict")

    def __init__(self, group: str, probe: Probe, verdict: str, found: str) -> None:
        self.group = group
        self.name = probe.name
        self.verdict = verdict
        self.found = found
        self.needed = probe.needed
        self.consequence = ""
        self.remedy = ""

    def body(self) -> dict[str, Any]:
        """The finding as JSON, in the order of docs/doctor.md."""
        names = ("group", "name", "verdict", "found", "consequence", "remedy", "needed")
        return {name: getattr(self, name) for name in names}


def ask(group: str, probe: Probe) -> Finding:
    """Ask one question, whatever comes of it."""
    try:
        return Finding(group, probe, OK, probe.ask())
    except (Lacks, OSError) as error:
        words = kernel_words(error) if isinstance(error, OSError) else str(error)
        finding = Finding(group, probe, probe.without, words)
        finding.consequence = getattr(error, "consequence", "") or probe.consequence
        finding.remedy = getattr(error, "remedy", "") or probe.remedy
        return finding
    except Exception as error:  # noqa: BLE001  # one probe must not stop the others
        finding = Finding(group, probe, UNKNOWN, f"{type(error).__name__}: {error}")
        finding.consequence = "It could not be found out."
        finding.remedy = "Report this as a bug of ocirun."
        return finding


def read(path: str) -> str:
    """Read a small file of the kernel or of the host's configuration, stripped.

    Raises:
        OSError: it is not there.
    """
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(1 << 20).strip()


def in_child(act: Callable[[], object], flags: int = 0) -> None:
    """Do `act` in a child cloned with `flags`, which ends with it.

    Who is not root asks with the rights that its containers would have: those of a user namespace
    of its own.

    Raises:
        OSError: the kernel refused the clone or something that `act` did.
    """
    if os.geteuid() != 0:
        flags |= CLONE_NEWUSER
    reading, writing = os.pipe()
    try:
        pid, pidfd = clone3(flags)
        if pid == 0:
            _be_child(act, writing)
        os.close(writing)
        writing = -1
        said = os.read(reading, MAX_WORDS)
        os.close(pidfd)
        os.waitpid(pid, 0)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if said != b"0:":
        number, _, words = said.decode("utf-8", "replace").partition(":")
        raise OSError(int(number or 0) or 5, words or "the process died")


def _be_child(act: Callable[[], object], writing: int) -> NoReturn:
    try:
        act()
    except OSError as error:
        said = f"{error.errno or 5}:{error.strerror or error}"
    except OcirunError as error:
        said = f"{getattr(error, 'errno', 0) or 5}:{error}"
    except BaseException as error:  # noqa: BLE001  # said to the parent, whatever it is
        said = f"5:{type(error).__name__}: {error}"
    else:
        said = "0:"
    os.write(writing, said.encode()[:MAX_WORDS])
    os._exit(0)
