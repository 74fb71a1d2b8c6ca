"""The network of a restored container: as after create, not as it was saved.

CRIU is asked for an empty network namespace where the container has its own: who has put interfaces
into it, by a hook or from outside, does that again. What create itself does there is to bring up
lo, so that is done here.

Source: criu.org/CLI/opt/--empty-ns; runtime-spec runtime-linux.md, network_namespaces(7).
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.network.loopback import bring_up_loopback
from ocirun.network.namespace import inside, open_namespace_of


def bring_up_loopback_of(host_pid: int) -> None:
    """Bring up lo in the network namespace of `host_pid`: we go there and come back."""
    with doing("entering the network namespace of the restored container"):
        fd = open_namespace_of(host_pid)
        try:
            with inside(fd):
                bring_up_loopback()
        finally:
            os.close(fd)
