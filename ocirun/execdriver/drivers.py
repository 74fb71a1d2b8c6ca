"""The two drivers of Docker 0.11: native, which is ocirun here, and lxc.

Source: docs/engines.md#execdriver.
"""

from __future__ import annotations

from ocirun.cgroups.choose import layout
from ocirun.convert.lxc_write import write_lxc
from ocirun.errors import UsageError
from ocirun.execdriver.driver import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.execdriver.driver import Command


class Native(Driver):
    """Containers of ocirun."""

    engine = "native"

    def name(self) -> str:
        """Return `native-VERSION`, ocirun's version."""
        from importlib.metadata import version

        return f"native-{version('ocirun')}"


class Lxc(Driver):
    """Containers of LXC: started by lxc-start, signalled and stopped by lxc-stop."""

    engine = "lxc"

    def name(self) -> str:
        """Return `lxc-VERSION`, the version of lxc-start.

        Raises:
            SetupError: LXC is not installed.
        """
        from ocirun.engines.lxc.tools import version

        return f"lxc-{version()}"

    def has_started(self, container_id: str) -> bool:
        """Return whether lxc-start has executed the program, which it does after the gate."""
        from ocirun.engines.lxc.tools import has_started, read_log

        folder = f"{self.store.root}/{container_id}"
        return super().has_started(container_id) and has_started(read_log(folder))

    def configuration(self, command: Command, *, old_keys: bool = False) -> tuple[str, list[str]]:
        """Return the LXC configuration of a command, and the names without a counterpart.

        With `old_keys`, in the keys of LXC before 2.1, as Docker 0.11 wrote them: to read, for
        lxc-start does not accept them any more.
        """
        config = self.config_of(command)
        return write_lxc(config, cgroup_v2=layout() == "v2", old_keys=old_keys)


DRIVERS = {"native": Native, "lxc": Lxc}


def new_driver(name: str, root: str | None = None) -> Driver:
    """Return the driver `name`, native or lxc; `root` is its state root.

    Raises:
        UsageError: no driver has that name.
    """
    if name not in DRIVERS:
        raise UsageError(f"unknown driver {name!r}: it is one of {', '.join(DRIVERS)}")
    return DRIVERS[name](root)
