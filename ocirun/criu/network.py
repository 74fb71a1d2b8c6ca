"""The network of a restored container: as after create, not as it was saved.

CRIU is told that a network namespace of the container's own is to be empty: who has put interfaces
into it, by a hook or from outside, does that again. What create itself does there is to bring up
lo, so that is done here.

Source: criu.org/CLI/opt/--empty-ns; runtime-spec runtime-linux.md, network_namespaces(7).
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.process import CLONE_NEWNET, setns
from ocirun.network.loopback import bring_up_loopback


def bring_up_loopback_of(host_pid: int) -> None:
    """Bring up lo in the network namespace of `host_pid`: we go there and come back."""
    with doing("entering the network namespace of the restored container"):
        own_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            their_fd = os.open(f"/proc/{host_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(their_fd, CLONE_NEWNET)
            finally:
                os.close(their_fd)
            try:
                bring_up_loopback()
            finally:
                setns(own_fd, CLONE_NEWNET)
        finally:
            os.close(own_fd)
