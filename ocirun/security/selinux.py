"""process.selinuxLabel: the label that the program has from its execve on, and its keyring.

Source: runtime-spec config.md#linux-process; setexeccon(3), setkeycreatecon(3), whose files these
are; proc_pid_attr(5).
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.kernel.procfs import write_own


def set_exec_label(procfs_fd: int, label: str) -> None:
    """Set `label` for our next execve, through `procfs_fd`, a private procfs (borrowed).

    Order: the last of what init does with its own rights: from then on every execve, also that of
    a hook, is the container's.

    Raises:
        SetupError: EINVAL for a label the policy does not know; EACCES when it forbids the change.
    """
    with doing(f"setting the selinux label {label}: write to `/proc/self/attr/exec`"):
        write_own(procfs_fd, "attr/exec", label)


def set_key_label(procfs_fd: int, label: str) -> None:
    """Set `label` for keys that we create from now on; "" leaves them to the policy.

    Raises:
        SetupError: as set_exec_label.
    """
    with doing(f"labelling keys {label}: write to `/proc/self/attr/keycreate`"):
        write_own(procfs_fd, "attr/keycreate", label)
