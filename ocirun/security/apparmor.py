"""process.apparmorProfile: the profile that confines the program from its execve on.

Source: runtime-spec config.md#linux-process; kernel admin-guide/LSM/apparmor.rst, the interface
as aa_change_onexec(2) uses it.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.kernel.procfs import write_own


def set_exec_profile(procfs_fd: int, profile: str) -> None:
    """Set `profile` for our next execve, through `procfs_fd`, a private procfs (borrowed).

    Order: before no_new_privs, which would limit the change to a stricter profile.

    Raises:
        SetupError: ENOENT for a profile that is not loaded; EACCES, EPERM when the profile we run
            under does not allow the change. Callers look for the path between backquotes.
    """
    value = f"exec {profile}"
    with doing(f"setting the apparmor profile {profile}: write to `/proc/self/attr/exec`"):
        try:
            # Kernel: from 5.8 each LSM has a folder; the old file is that of the first LSM only.
            write_own(procfs_fd, "attr/apparmor/exec", value)
        except FileNotFoundError as error:
            if error.filename is None:  # the write: there is no such profile
                raise
            write_own(procfs_fd, "attr/exec", value)
