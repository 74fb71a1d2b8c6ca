"""Run one more process in the container of an engine that has its own way of doing so.

Source: docs/engines.md; docs/vm.md#processes.
"""

from __future__ import annotations

from ocirun.container.exec import Execution
from ocirun.engines.engine import engine_of
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.record import Record


class EngineExecution(Execution):
    """One exec in progress, done by the engine."""

    def prepare(self) -> None:
        """Complete the process from the container's own, and refuse what the engine cannot do."""
        super().prepare()
        engine = engine_of(self.record)
        if not self.options.may_fork:
            raise UsageError(f"engine {engine.name}: exec is for the command line only")
        if self.request.kept_fds or self.options.cgroups:
            raise UsageError(
                f"engine {engine.name}: neither descriptors nor another cgroup can be chosen"
            )
        engine.check_process(self.config)

    def bring_in(self) -> None:
        """Have the engine run the process."""
        engine = engine_of(self.record)
        engine.filter = self.request.seccomp
        # It has what is asked of a conversation once that is over: pid, pidfd, close, abandon.
        self.parent = engine.execute(self.record, self.config, self.stdio)  # type: ignore[assignment]
        self.register_parent()
        if self.foreground:
            self.foreground.connect()


def execution_of(record: Record) -> type[Execution]:
    """Return what runs a process in the container: of most engines what native has."""
    return EngineExecution if engine_of(record).has_own_exec else Execution
