"""`ocirun create`: everything up to the gate; `start` opens it."""

from __future__ import annotations

import os

from ocirun.container.create import create
from ocirun.container.options import CreateOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Create the container named by the call."""
    create(call.store(), call.words[0], creation(call)).close()
    return 0


def creation(call: Call) -> CreateOptions:
    """Return how the call wants its container made, paths made absolute.

    Order: before the bundle is entered: all paths are relative to where the caller stands.
    """
    return CreateOptions(
        bundle=os.path.abspath(call.text("bundle")),
        config=call.text("config") or "config.json",
        console_socket=absolute(call, "console-socket"),
        pidfd_socket=absolute(call, "pidfd-socket"),
        pid_file=absolute(call, "pid-file"),
        no_pivot=call.flag("no-pivot"),
        no_new_keyring=call.flag("no-new-keyring"),
        preserve_fds=call.number("preserve-fds"),
        cgroup_manager=call.cgroup_manager(),
        rootless=str(call.settings["rootless"]),
        notify_socket=os.environ.get("NOTIFY_SOCKET") or None,
        tell=call.tell(),
    )


def absolute(call: Call, name: str) -> str | None:
    """Give the path that option `name` holds, as an absolute one; None when there is none."""
    value = call.text(name)
    return os.path.abspath(value) if value else None
