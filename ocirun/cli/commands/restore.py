"""`ocirun restore`: make a container again from the files of a checkpoint."""

from __future__ import annotations

import os

from ocirun.cli.commands.checkpoint import criu_options
from ocirun.cli.commands.create import absolute
from ocirun.container.options import CreateOptions
from ocirun.container.restore import restore
from ocirun.errors import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Restore the container named by the call; return its exit status, 0 when detached."""
    options = CreateOptions(
        bundle=os.path.abspath(call.text("bundle")),
        console_socket=absolute(call, "console-socket"),
        pid_file=absolute(call, "pid-file"),
        no_pivot=call.flag("no-pivot"),
        cgroup_manager=call.cgroup_manager(),
        rootless=str(call.settings["rootless"]),
        tell=call.tell(),
    )
    status, failures = restore(
        call.store(),
        call.arguments[0],
        options,
        criu_options(
            call,
            tcp_close=call.flag("tcp-close"),
            lsm_profile=call.text("lsm-profile"),
            lsm_mount_context=call.text("lsm-mount-context"),
        ),
        detach=call.flag("detach"),
        subreaper=not call.flag("no-subreaper"),
    )
    for failure in failures:
        warn(str(failure))
    return status
