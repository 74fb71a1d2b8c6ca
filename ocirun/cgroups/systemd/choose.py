"""From a configuration to the unit of a container.

Source: docs/runc-compat/cgroups.md#systemd, docs/runc-compat/rootless.md#cgroups.
"""

from __future__ import annotations

from ocirun.cgroups.paths import UNIFIED, V1_NAMES, join
from ocirun.cgroups.systemd.manager import connect
from ocirun.cgroups.systemd.names import names_of
from ocirun.cgroups.systemd.scope import unit_cgroup
from ocirun.cgroups.systemd.unit import Unit
from ocirun.errors import Problem, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.cgroups.paths import Table
    from ocirun.cgroups.systemd.manager import Manager


def new_unit(
    cgroups_path: str,
    container_id: str,
    annotations: Mapping[str, str],
    table: Table,
    *,
    unified: bool,
    rootless: bool,
) -> Cgroup:
    """Return the unit of a new container; asks systemd for the place, creates nothing yet.

    Raises:
        SpecError: cgroupsPath is not of the form slice:prefix:name, or an annotation is wrong.
        UnsupportedError: there is no systemd, or not one that can do this. SetupError: it does
            not answer.
    """
    manager = connect()
    try:
        _check_user(manager, unified=unified)
        names = names_of(cgroups_path, container_id, user=manager.is_user)
        inner = f"{manager.control_group()}{names.path}"
        driver = Unit.new(names, container_id, annotations, manager)
        if unified:
            paths = {UNIFIED: _below(table, UNIFIED, inner)}
        else:
            hierarchies = (*V1_NAMES, UNIFIED)
            paths = {name: place for name in hierarchies if (place := _below(table, name, inner))}
        return unit_cgroup(
            paths, driver, table=table, rootless=rootless, explicit=bool(cgroups_path)
        )
    except BaseException:
        manager.close()
        raise


def _check_user(manager: Manager, *, unified: bool) -> None:
    """Security: cgroups of version 1 cannot be delegated safely, so a user's systemd has none."""
    if manager.is_user and not unified:
        message = "a user's systemd manages no cgroups of version 1"
        raise UnsupportedError([Problem("", message, "use --cgroup-manager=cgroupfs")], "host")


def _below(table: Table, name: str, inner: str) -> str:
    """Return the directory in one hierarchy; "" where that is not mounted."""
    mount = table.v1_mount(name) if name else table.v2_mount()
    if mount is None or name not in table.own:
        return ""
    below = inner.removeprefix(mount.root) if mount.root != "/" else inner
    return join(mount.point, below)
