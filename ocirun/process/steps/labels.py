"""The steps that write through a private procfs: sysctls, and the labels of both LSMs.

Loaded only for a config.json that has one of them.

Security: CVE-2019-16884, CVE-2025-52881. What is written to a path inside the container may end
up in a file that its image, or another container beside it, has put there. The procfs of these
steps is opened before the root is assembled, is attached nowhere, and so cannot be covered.

Source: runtime-spec config.md#linux-process, config-linux.md#sysctl;
docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.procfs import open_private_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def open_procfs(init: InitContext) -> None:
    """Open a procfs that nothing in the container can cover."""
    with doing("opening a private procfs"):
        init.procfs_fd = open_private_procfs()


def label_keys(init: InitContext) -> None:
    """Have keys and keyrings made with the process's SELinux label."""
    from ocirun.security.selinux import set_key_label

    set_key_label(init.procfs_fd, init.config["process"]["selinuxLabel"])


def label_no_keys(init: InitContext) -> None:
    """Leave further keys to the policy again."""
    from ocirun.security.selinux import set_key_label

    set_key_label(init.procfs_fd, "")


def set_apparmor_profile(init: InitContext) -> None:
    """Have execve confine us by process.apparmorProfile."""
    from ocirun.security.apparmor import set_exec_profile

    set_exec_profile(init.procfs_fd, init.config["process"]["apparmorProfile"])


def write_sysctls(init: InitContext) -> None:
    """Write linux.sysctl."""
    from ocirun.security.sysctl import write_sysctls as write

    write(init.procfs_fd, init.config["linux"]["sysctl"])


def set_selinux_label(init: InitContext) -> None:
    """Have execve give us process.selinuxLabel."""
    from ocirun.security.selinux import set_exec_label

    set_exec_label(init.procfs_fd, init.config["process"]["selinuxLabel"])


def close_procfs(init: InitContext) -> None:
    """Close the procfs.

    Security: it shows what the container's masked paths hide, so it must not be there any more
    when a process of the container's own user can trace us.
    """
    os.close(init.procfs_fd)
    init.procfs_fd = -1
