"""The children of this program that nobody has waited for yet.

As subprocess does it: one whose object is forgotten is reaped, once it has ended, when the library
is called next. So no zombie stays, and a container's status is written down. Others are left alone:
their owner may wait for them by another way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.library.child import Child

# The child, and which container it is the init of: its root and id.
_children: dict[Child, tuple[str, str] | None] = {}
_forgotten: set[Child] = set()


def add(child: Child, container: tuple[str, str] | None = None) -> None:
    """Remember `child`, which is the init of `container` (its root and id) or of none."""
    sweep()
    _children[child] = container


def find(container: tuple[str, str]) -> Child | None:
    """Return the init of a container, if it is a child whose end this program has not seen."""
    for child, known in list(_children.items()):
        if known == container and not child.has_ended:
            return child
    return None


def sweep() -> None:
    """Reap those that have ended and that no object stands for, and write down how."""
    for child in list(_forgotten):
        child.poll()
        if child.has_ended:
            settle(child)


def leave(child: Child) -> None:
    """Reap `child` some time: its object is gone."""
    if child in _children and not child.has_ended:
        _forgotten.add(child)


def settle(child: Child) -> None:
    """Forget a child that has ended; the container that it was the init of keeps the status."""
    _forgotten.discard(child)
    container = _children.pop(child, None)
    if container and child.returncode is not None:
        from ocirun.container.exit_status import keep_exit
        from ocirun.container.store import Store

        root, container_id = container
        keep_exit(Store(root), container_id, child.pid, child.returncode)


def forget(child: Child) -> None:
    """Forget a child whose container is gone, or soon will be."""
    _forgotten.discard(child)
    _children.pop(child, None)
