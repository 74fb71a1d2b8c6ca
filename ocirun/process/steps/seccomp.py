"""The step that loads linux.seccomp; only for containers that have one.

Source: runtime-spec config-linux.md#seccomp; docs/runc-compat/seccomp.md#when-the-filter-is-loaded,
docs/runc-compat/seccomp.md#filters.
"""

from __future__ import annotations

import os

from ocirun.kernel.prctl import set_dumpable
from ocirun.process.messages import LISTENER_TAKEN, PROC_SECCOMP
from ocirun.security.seccomp.load import load_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def allow_fetching(_: InitContext) -> None:
    """Allow a parent that is not the host's root to fetch the listener, as ptrace."""
    set_dumpable(True)


def forbid_fetching(_: InitContext) -> None:
    """Forbid tracing again."""
    set_dumpable(False)


def load_seccomp(init: InitContext) -> None:
    """Load the filter; where an agent is to decide, wait until it can.

    From here on the profile holds for our own calls too.
    """
    init.channel.use_plain_io()
    listener = load_filter(init.request.seccomp or {})
    if listener is not None:
        init.channel.send(PROC_SECCOMP, listener)
        init.channel.receive(LISTENER_TAKEN)
        os.close(listener)
