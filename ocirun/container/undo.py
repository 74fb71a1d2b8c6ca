"""Undo the completed steps, in reverse, if create fails."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """Registers how to undo each step of its block, and does so if the block fails.

    A cleanup that fails never hides the first failure: it becomes a note on it.
    """

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, name: str, act: Callable[[], object]) -> None:
        """Register `act`, which undoes the last step; `name` is for the note if it fails."""
        self._steps.append((name, act))

    def forget(self) -> None:
        """Forget all steps: the block has succeeded."""
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
