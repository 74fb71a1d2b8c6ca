"""Which devices may be used: v1, a default and exceptions kept by the kernel.

The kernel's present state is read, and only what differs is written: rules that stay are never
taken away in between, so that a running container does not lose a device for a moment.

Source: runtime-spec config-linux.md#allowed-device-list; kernel admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

from errno import EINVAL

from ocirun.cgroups.devicerules import ANY, Verdicts, bits_of, text, verdicts_of
from ocirun.cgroups.files import read_text, set_lines
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Resources

LIST: Final = "devices.list"
ALLOW: Final = "devices.allow"
DENY: Final = "devices.deny"


def wants(resources: Resources) -> bool:  # noqa: ARG001
    """Return True: even without rules only the implied devices are allowed."""
    return True


def apply(directory: str, resources: Resources) -> None:
    """Make the kernel's state what the rules say, among which the implied ones are already.

    Raises:
        SetupError: a rule was refused, cannot be kept on v1, or the kernel made something else
            of it.
    """
    target = verdicts_of(resources.get("devices") or ())
    current = read_verdicts(directory)
    if current.allows and target.allows:
        _forget_exceptions(directory)
    elif current == target:
        return
    for file, lines in transition(current, target):
        set_lines(directory, file, lines)
    result = read_verdicts(directory)
    # Security: a rule that did not take must not pass for one that did. Where all is allowed the
    # kernel does not show the exceptions, so only the default can be compared.
    if result.allows != target.allows or not (target.allows or result == target):
        raise SetupError(f"setting the device rules of {directory}: the kernel kept other ones")


def _forget_exceptions(directory: str) -> None:
    """Empty the hidden exceptions of a cgroup that allows the rest, which was there before us.

    Kernel: EINVAL where cgroups are below. Then they stay: less is allowed, and never more.
    """
    try:
        set_lines(directory, ALLOW, ["a"])
    except SetupError as error:
        if error.errno != EINVAL:
            raise


def read_verdicts(directory: str) -> Verdicts:
    """Read what the kernel holds now.

    Kernel: while the default is "allowed", `devices.list` is one line, `a *:* rwm`, and exceptions
    stay hidden.

    Raises:
        SetupError: the list cannot be read.
    """
    try:
        return parse_list(read_text(f"{directory}/{LIST}"))
    except OSError as error:
        what = f"reading {directory}/{LIST}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error


def parse_list(lines: str) -> Verdicts:
    """Read the text of `devices.list`: lines like `c 1:3 rwm` and `b *:* m`."""
    verdicts = Verdicts()
    for line in lines.splitlines():
        kind, numbers, access = line.split()
        if kind == "a":
            verdicts.decide_all(True)
            continue
        major, _, minor = numbers.partition(":")
        verdicts.decide(True, (kind, _number(major), _number(minor)), bits_of(access))
    return verdicts


def _number(word: str) -> int:
    return ANY if word == "*" else int(word)


def transition(current: Verdicts, target: Verdicts) -> list[tuple[str, list[str]]]:
    """List the writes (file, lines) that lead from one state to the other, as few as there are.

    `a` empties the kernel's exceptions and sets the default, so it is used only to change that.
    """
    opposite, same = (DENY, ALLOW) if target.allows else (ALLOW, DENY)
    held = current.exceptions if current.allows == target.allows else {}
    back = [] if current.allows == target.allows else ["a"]
    for key, bits in held.items():
        if extra := bits & ~target.exceptions.get(key, 0):
            back.append(text(key, extra))
    lacking = {key: bits & ~held.get(key, 0) for key, bits in target.exceptions.items()}
    there = [text(key, bits) for key, bits in lacking.items() if bits]
    return [(file, lines) for file, lines in ((same, back), (opposite, there)) if lines]
