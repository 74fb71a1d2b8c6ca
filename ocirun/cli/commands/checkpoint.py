"""`ocirun checkpoint`: save a container into files."""

from __future__ import annotations

import os

from ocirun.container.checkpoint import checkpoint
from ocirun.container.criu_options import CriuOptions
from ocirun.errors import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cli.call import Call

DEFAULT_IMAGES: Final = "checkpoint"


def run(call: Call) -> int:
    """Save the container named by the call."""
    options = criu_options(
        call,
        parent_path=call.text("parent-path"),
        leave_running=call.flag("leave-running"),
        pre_dump=call.flag("pre-dump"),
        tcp_skip_in_flight=call.flag("tcp-skip-in-flight"),
        link_remap=call.flag("link-remap"),
        page_server=call.text("page-server"),
        status_fd=call.number("status-fd"),
    )
    failures = checkpoint(call.store(), call.arguments[0], options)
    for failure in failures:
        warn(str(failure))
    return 0


def criu_options(call: Call, **more: Any) -> CriuOptions:  # noqa: ANN401  # the verb's own flags
    """Return what checkpoint and restore have in common, paths made absolute, with `more` flags."""
    work_path = call.text("work-path")
    return CriuOptions(
        os.path.abspath(call.text("image-path") or DEFAULT_IMAGES),
        os.path.abspath(work_path) if work_path else "",
        tcp_established=call.flag("tcp-established"),
        ext_unix_sk=call.flag("ext-unix-sk"),
        shell_job=call.flag("shell-job"),
        file_locks=call.flag("file-locks"),
        auto_dedup=call.flag("auto-dedup"),
        lazy_pages=call.flag("lazy-pages"),
        manage_cgroups_mode=call.text("manage-cgroups-mode"),
        network_lock=call.text("network-lock"),
        empty_ns=call.many("empty-ns"),
        tell=call.tell(),
        **more,
    )
