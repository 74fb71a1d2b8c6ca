"""`ocirun mounts add` and `mounts remove`: change what is mounted in a running container."""

from __future__ import annotations

from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Do what the first word says with the list in the file."""
    act, container_id, path = call.arguments
    if act not in {"add", "remove"}:
        raise UsageError(f'"mounts {act}": expected "add" or "remove"')
    from ocirun.container.mounts import add_mounts, remove_mounts

    (add_mounts if act == "add" else remove_mounts)(call.store(), container_id, path)
    return 0
