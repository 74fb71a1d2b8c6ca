"""A command line that has been read: what a verb's `run` gets."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.container.store import Store


class Call:
    """A command line, understood: global settings, the verb, its options, its arguments.

    `settings` and `options` map every option's long name to its value, absent ones to their
    default.
    """

    __slots__ = ("arguments", "options", "settings", "verb")

    def __init__(
        self,
        settings: dict[str, object],
        verb: str,
        options: dict[str, object],
        arguments: list[str],
    ) -> None:
        self.settings = settings
        self.verb = verb
        self.options = options
        self.arguments = arguments

    def flag(self, name: str) -> bool:
        """Return the value of the verb's boolean option `name`."""
        return self.options[name] is True

    def text(self, name: str) -> str:
        """Return the value of the verb's string option `name`."""
        return str(self.options[name])

    def many(self, name: str) -> tuple[str, ...]:
        """Return the values of the verb's repeatable option `name`, in their order."""
        value = self.options[name]
        return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()

    def number(self, name: str) -> int:
        """Return the value of the verb's integer option `name`."""
        value = self.options[name]
        return value if isinstance(value, int) else 0

    def store(self) -> Store:
        """Return the store the call is about: `--root`, else the default of this user."""
        from ocirun.container.store import Store, default_root

        return Store(str(self.settings["root"] or default_root()))

    def check_container(self) -> None:
        """Raise what is wrong with the container that the call names, if anything is.

        For faults of options: runc looks for the container before it reads them, so that callers
        learn first that a container does not exist.
        """
        self.store().load(self.arguments[0]).close()

    def cgroup_manager(self) -> str:
        """Return "cgroupfs", "systemd" or "disabled"; the option that names one wins."""
        named = str(self.settings["cgroup-manager"])
        return named or ("systemd" if self.settings["systemd-cgroup"] else "cgroupfs")

    def engine(self) -> str:
        """Return the name of the engine for a new container; "" where the bundle decides."""
        return str(self.settings["engine"])

    def tell(self) -> Callable[[str], None] | None:
        """Return a function that writes a debug line, None without --debug."""
        if not self.settings["debug"]:
            return None
        from ocirun.cli.log import teller  # cold: only with --debug

        return teller(self.settings)
