"""From cgroupsPath to the names of a unit and of its slice, and to where systemd puts them.

    system.slice:runc:web   →   /system.slice/runc-web.scope
    a-b.slice::web          →   /a.slice/a-b.slice/web.scope
    a.slice::a-b.slice      →   /a.slice/a-b.slice, a slice itself

containerd, CRI-O and podman compute the same paths for themselves and read statistics there.

Source: runtime-spec config-linux.md#cgroups-path; systemd.unit(5); systemd.slice(5);
docs/runc-compat/cgroups.md#systemd.
"""

from __future__ import annotations

from ocirun.errors import Problem, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

POINTER: Final = "/linux/cgroupsPath"
OWN_PREFIX: Final = "ocirun"
ROOT_SLICE: Final = "-.slice"
LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
MOST_LETTERS: Final = 255


class UnitNames:
    """What a container's unit is called, and the slice it belongs to.

    `name` ends in `.scope` or, where the caller names one, in `.slice`.
    """

    __slots__ = ("name", "slice")

    def __init__(self, slice_name: str, name: str) -> None:
        self.slice = slice_name
        self.name = name

    @property
    def is_slice(self) -> bool:
        """Return whether the container's unit is a slice itself: it then holds no process given."""
        return self.name.endswith(".slice")

    @property
    def path(self) -> str:
        """Where systemd puts the unit's cgroup, below its own: `/a.slice/a-b.slice/name.scope`.

        The name of a slice says by itself where it is.
        """
        if self.is_slice:
            return expand_slice(self.name)
        return f"{expand_slice(self.slice)}/{self.name}"


def names_of(cgroups_path: str, container_id: str, *, user: bool) -> UnitNames:
    """Read `slice:prefix:name`; without a path the unit is called after the container.

    `user`: the manager is a user's, whose units are in user.slice when nothing else is said.

    Raises:
        SpecError: it has not this form, or systemd could not have a unit of such a name.
    """
    usual_slice = "user.slice" if user else "system.slice"
    if not cgroups_path:
        return UnitNames(usual_slice, f"{OWN_PREFIX}-{escape(container_id)}.scope")
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        message = (
            f"{cgroups_path!r} is not of the form slice:prefix:name, which systemd cgroups need"
        )
        raise _refusal(message)
    slice_name, prefix, name = parts
    slice_name = slice_name or usual_slice
    expand_slice(slice_name)
    if name.endswith(".slice"):
        expand_slice(name)
    else:
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        _check_unit(name)
    return UnitNames(slice_name, name)


def escape(word: str) -> str:
    r"""Write `word` so that it may stand in the name of a unit: `+` becomes `\x2b`.

    Source: systemd.unit(5), string escaping for inclusion in unit names.
    """
    return "".join(
        letter if letter in LETTERS and letter != "\\" else f"\\x{ord(letter):02x}"
        for letter in word
    )


def expand_slice(name: str) -> str:
    """Return the path of a slice: `a-b.slice` is in `a.slice`; the root slice is "".

    Raises:
        SpecError: it is no name of a slice.
    """
    if name == ROOT_SLICE:
        return ""
    stem = name.removesuffix(".slice")
    # Security: each part becomes a directory; an empty one, or one with a slash, would not be one.
    if stem == name or "" in stem.split("-"):
        raise _refusal(f"invalid slice name {name!r}")
    _check_unit(name)
    parents = stem.split("-")
    return "".join(f"/{'-'.join(parents[: depth + 1])}.slice" for depth in range(len(parents)))


def _check_unit(name: str) -> None:
    """Enforce systemd's rules on names of units.

    Security: the name becomes a directory of the host: no slash, no control character, no `..`.
    """
    stem = name.rpartition(".")[0]
    if not LETTERS.issuperset(name) or not stem.strip("."):
        raise _refusal(f"{name!r} is not a valid name of a systemd unit")
    if len(name) > MOST_LETTERS:
        raise _refusal(f"the name of the unit has {len(name)} letters, of {MOST_LETTERS} at most")


def object_path(unit: str) -> str:
    """Return the D-Bus object of a unit.

    Source: org.freedesktop.systemd1(5): what is no letter or digit becomes _ and its number in hex.
    """
    label = "".join(
        letter if letter.isalpha() or (letter.isdigit() and place) else f"_{ord(letter):02x}"
        for place, letter in enumerate(unit)
    )
    return f"/org/freedesktop/systemd1/unit/{label}"


def _refusal(message: str) -> SpecError:
    return SpecError([Problem(POINTER, message)])
