"""`ocirun create`: everything up to the gate; `start` opens it."""

from __future__ import annotations

import os

from ocirun.container.create import create
from ocirun.container.options import CreateOptions
from ocirun.spec.load import SpecMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

NO_BUNDLE: Final = (
    ": this directory is no bundle; --bundle names one, `ocirun spec` begins one "
    "(images are not run: ocirun-bundle(7))"
)


def run(call: Call) -> int:
    """Create the container named by the call."""
    try:
        create(call.store(), call.arguments[0], creation(call)).close()
    except SpecMissing as error:
        raise about_bundles(call, error) from error
    return 0


def about_bundles(call: Call, error: SpecMissing) -> SpecMissing:
    """Return `error`; if the call names no bundle, with what a bundle is."""
    return error if call.text("bundle") else SpecMissing(error.document, NO_BUNDLE)


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
        engine=call.engine(),
    )


def absolute(call: Call, name: str) -> str | None:
    """Return the path that option `name` holds, as an absolute one; None when there is none."""
    value = call.text(name)
    return os.path.abspath(value) if value else None
