"""The cgroup of a container that has none of its own: `--cgroup-manager=disabled`."""

from __future__ import annotations

from ocirun.cgroups.cgroup import Cgroup
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.paths import Hierarchy
    from ocirun.spec.types import Resources


class NoCgroup(Cgroup):
    """`--cgroup-manager=disabled`: the container stays where its creator is.

    Limits are not written; that is what was asked for.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__({}, "disabled")

    def _prepare(self, resources: Resources) -> None:
        """Make nothing."""

    def join(self, host_pid: int) -> None:
        """Stay."""

    def _write(self, resources: Resources, *, devices: bool) -> None:
        """Write nothing."""

    def hierarchies(self) -> list[Hierarchy]:
        """List where the container is: in the cgroups of its creator."""
        from ocirun.cgroups.paths import own_hierarchies, read_table

        return own_hierarchies(read_table())

    def is_frozen(self) -> bool:
        """Nothing here can be frozen."""
        return False

    def freeze(self) -> None:
        """Refuse: there is no cgroup to freeze.

        Raises:
            SetupError: always.
        """
        raise SetupError("freezing the container: it has no cgroup")

    def thaw(self) -> None:
        """Nothing here can be frozen."""

    def has_freezer(self) -> bool:
        """Nothing here can be frozen."""
        return False

    def oom_kills(self) -> int:
        """Nothing is counted."""
        return 0
