"""Numbers the kernel shows in a cgroup: one file, one function.

What is not there counts as nothing: a controller that is not mounted or not handed down (its
directory is then ""), a file that came with a later kernel, a cgroup that went away. Whether the
cgroup exists at all is checked by the caller (`ocirun.cgroups.stat`).

Source: kernel admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/; accounting/psi.rst.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, EOPNOTSUPP

from ocirun.cgroups.files import read_text
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    # A part of the statistics document; its values are what JSON has.
    Part = dict[str, Any]

UNLIMITED: Final = 2**64 - 1  # readers of the document have 64 bits, and take this for "none"
NS_PER_US: Final = 1000
# Kernel: ENODEV from a file of a cgroup that was removed after open, EOPNOTSUPP from pressure
# files while PSI is off.
MISSING: Final = (ENOENT, ENODEV, EOPNOTSUPP)


def text(directory: str, name: str) -> str | None:
    """Read the file `name`; None when it is not there.

    Raises:
        SetupError: it is there and cannot be read.
    """
    if not directory:
        return None
    try:
        return read_text(f"{directory}/{name}")
    except OSError as error:
        if error.errno in MISSING:
            return None
        what = f"reading {directory}/{name}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error


def number(directory: str, name: str) -> int:
    """Read the one number of a file; 0 when the file is not there.

    Raises:
        SetupError: the file cannot be read, or holds no number.
    """
    found = text(directory, name)
    return 0 if found is None else as_number(found.strip(), directory, name)


def numbers(directory: str, name: str) -> dict[str, int]:
    """Read a file of `key number` lines; lines of another shape are left out.

    Raises:
        SetupError: as `number`.
    """
    found: dict[str, int] = {}
    for line in (text(directory, name) or "").splitlines():
        words = line.split()
        if len(words) == 2:
            found[words[0]] = as_number(words[1], directory, name)
    return found


def nested(directory: str, name: str) -> list[tuple[str, dict[str, int]]]:
    """Read a file of `key word=number word=number…` lines, in the kernel's order.

    Raises:
        SetupError: as `number`.
    """
    found: list[tuple[str, dict[str, int]]] = []
    for line in (text(directory, name) or "").splitlines():
        key, *words = line.split() or [""]
        pairs = [word.partition("=") for word in words if "=" in word]
        values = {word: as_number(value, directory, name) for word, _, value in pairs}
        if values:
            found.append((key, values))
    return found


def as_number(word: str, directory: str, name: str) -> int:
    """Return the number that `word`, from the file `name`, is: at least 0, at most `UNLIMITED`.

    "max" is `UNLIMITED`; the kernel's negative numbers are counters that were caught in between.

    Raises:
        SetupError: it is not a number.
    """
    if word == "max":
        return UNLIMITED
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        from ocirun.spec.jsontext import quoted

        raise SetupError(f"reading {directory}/{name}: {quoted(word)} is not a number")
    if word != digits:
        return 0
    return min(int(digits), UNLIMITED) if len(digits) <= 20 else UNLIMITED


def pressure(directory: str, name: str) -> Part | None:
    """Read how long processes had to wait: shares of time in percent, totals in µs.

    None where the kernel does not count it. The shares have two decimals and are the only numbers
    of the document that are no integers.

    Raises:
        SetupError: as `number`.
    """
    found = text(directory, name)
    if found is None:
        return None
    result: Part = {}
    for kind in ("some", "full"):
        result[kind] = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}
    for line in found.splitlines():
        kind, *words = line.split() or [""]
        if kind in result:
            for word in words:
                key, _, value = word.partition("=")
                if key == "total":
                    result[kind][key] = as_number(value, directory, name)
                elif key in result[kind]:
                    result[kind][key] = _share(value, directory, name)
    return result


def _share(word: str, directory: str, name: str) -> int | float:
    """Return `12.50` as 12.5 and `0.00` as 0: JSON as Go writes it."""
    whole, _, decimals = word.partition(".")
    if not decimals.strip("0"):
        return as_number(whole, directory, name)
    as_number(whole + decimals, directory, name)
    return float(word)


def page_sizes(directory: str, suffix: str) -> list[str]:
    """List the sizes of huge pages ("2MB", "1GB") that have a file `hugetlb.SIZE<suffix>`."""
    try:
        names = os.listdir(directory) if directory else []
    except FileNotFoundError:
        return []
    sizes = [
        name.removeprefix("hugetlb.").removesuffix(suffix)
        for name in names
        if name.startswith("hugetlb.") and name.endswith(suffix)
    ]
    return sorted(size for size in sizes if "." not in size)


def objects(directory: str, name: str) -> list[Part]:
    """Read what RDMA devices have in use or may have: the same files on v1 and v2.

    Raises:
        SetupError: as `number`.
    """
    return [
        {"device": device, "hca_handles": found.get("hca_handle", 0),
         "hca_objects": found.get("hca_object", 0)}
        for device, found in nested(directory, name)
    ]  # fmt: skip
