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


def load_seccomp(init: InitContext) -> None:
    """Load the filter; where an agent is to decide, wait until it can.

    From here on the profile holds for our own calls too.
    """
    new = init.request.namespaces.new
    if "user" in new and "pid" in new and not init.request.joins:
        # Kernel: to fetch a descriptor is to trace. A parent that is no root of the host's may
        # trace us while we are dumpable.
        # Security: nobody else sees us in a pid namespace that is new and our own (CVE-2016-9962).
        set_dumpable(True)
    init.channel.speak_plainly()
    listener = load_filter(init.request.seccomp or {})
    if listener is not None:
        init.channel.send(PROC_SECCOMP, listener)
        init.channel.receive(LISTENER_TAKEN)
        os.close(listener)
