"""What to take back, in reverse, when create stops halfway."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """Remembers how to undo each thing done in its block, and does so when the block fails.

    A cleanup that fails never hides the first failure: it becomes a note on it.
    """

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, name: str, act: Callable[[], object]) -> None:
        """Remember that `act` takes back what was just done; `name` says it in a note."""
        self._steps.append((name, act))

    def forget(self) -> None:
        """All went well: there is nothing to take back any more."""
        self._steps.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        for name, act in reversed(self._steps):
            try:
                act()
            except Exception as failure:  # noqa: BLE001  # the first failure is the one to tell
                error.add_note(f"{name}: {failure}")
