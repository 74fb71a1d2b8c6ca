"""The children of this program that have not been waited for yet.

As in subprocess, a child whose object was garbage-collected is reaped by a later call of the
library, after it has ended. So no zombie stays, and a container's exit status is recorded. Other
children are left alone: their owner may wait for them by other means.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.store import Store
    from ocirun.library.child import Child

# Each child, and the store and id of the container that it is the init of.
_children: dict[Child, tuple[Store, str] | None] = {}
_forgotten: set[Child] = set()


def add(child: Child, container: tuple[Store, str] | None = None) -> None:
    """Register `child`, the init of `container` (its store, its id); None for an exec process."""
    sweep()
    _children[child] = container


def find(container: tuple[str, str]) -> Child | None:
    """Return the init of a container (root, id) if it is our child and not known to have ended."""
    for child, known in list(_children.items()):
        if known and (known[0].root, known[1]) == container and not child.has_ended:
            return child
    return None


def sweep() -> None:
    """Reap ended children whose object is gone, and record their exit status."""
    for child in list(_forgotten):
        child.poll()
        if child.has_ended:
            settle(child)


def leave(child: Child) -> None:
    """Mark `child` for reaping by `sweep`: its object is gone."""
    if child in _children and not child.has_ended:
        _forgotten.add(child)


def settle(child: Child) -> None:
    """Forget a child that has ended; record its status with the container it was the init of."""
    _forgotten.discard(child)
    container = _children.pop(child, None)
    if container and child.returncode is not None:
        from ocirun.container.exit_status import keep_exit

        store, container_id = container
        keep_exit(store, container_id, child.pid, child.returncode)


def forget(child: Child) -> None:
    """Forget a child whose container is gone, or soon will be."""
    _forgotten.discard(child)
    _children.pop(child, None)
