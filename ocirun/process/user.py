"""Who the process is: user, groups, umask, working directory.

Source: runtime-spec config.md#posix-platform-user, config.md#process; credentials(7).
"""

from __future__ import annotations

import errno
import os

from ocirun.errors import SetupError, doing, kernel_words
from ocirun.kernel.process import ids, setgroups
from ocirun.rootfs.resolve import DIRECTORY, INSIDE, make_dir_in_root, open_unmoved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import User

DEFAULT_UMASK: Final = 0o022


def become_root_of_namespace(*, keep_groups: bool = False) -> None:
    """Take uid and gid 0 of a new user namespace, once the maps are written.

    The supplementary groups go too: those we came with are unmapped here, and would still count.
    Where the maps leave out id 0, we stay who we are, with root's rights all the same.
    `keep_groups` keeps the groups.
    """
    with doing("becoming root in the user namespace"):
        for become in (os.setresgid, os.setresuid):
            try:
                become(0, 0, 0)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
    if not keep_groups:
        _drop_groups([])


def become_user(user: User, *, keep_groups: bool = False) -> None:
    """Set groups, gid and uid irrevocably, in this order: each needs the right the next one drops.

    `keep_groups` leaves the groups as they are.

    Raises:
        SetupError: an id that the user namespace does not map; or it has not happened.
    """
    uid, gid = user["uid"], user["gid"]
    groups = user.get("additionalGids") or []
    replaced = not keep_groups and _drop_groups(groups)
    try:
        # Each sets all three ids of a privileged caller; setresuid and setresgid would be two more
        # calls that a seccomp profile has to allow.
        os.setgid(gid)
    except OSError as error:
        raise _unmapped("gid", gid, error) from error
    try:
        os.setuid(uid)
    except OSError as error:
        raise _unmapped("uid", uid, error) from error
    # Security: a seccomp filter that we run below may answer these calls, and have nothing done.
    if ids() != (uid, uid, uid, gid, gid, gid) or (
        replaced and sorted(os.getgroups()) != sorted(groups)
    ):
        raise SetupError(
            f"becoming user {uid}:{gid} had no effect: a seccomp filter seems to answer setuid, "
            "setgid or setgroups"
        )


def _unmapped(kind: str, number: int, error: OSError) -> SetupError:
    if error.errno == errno.EINVAL:
        return SetupError(
            f"cannot set{kind} to unmapped {kind} {number} in user namespace", errno.EINVAL
        )
    return SetupError(f"set{kind} {number}: {kernel_words(error)}", error.errno or 0)


def _drop_groups(gids: list[int]) -> bool:
    """Replace the supplementary groups; return False where the user namespace forbids it."""
    try:
        setgroups(gids)
    except PermissionError as error:
        if gids or not _setgroups_denied():
            raise SetupError(
                f"setting the additional groups {gids}: {kernel_words(error)}", error.errno or 0
            ) from error
        return False
    return True


def _setgroups_denied() -> bool:
    try:
        fd = os.open("/proc/self/setgroups", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # no procfs in the container: then nothing says that it is allowed
        return True
    try:
        return os.read(fd, 16).startswith(b"deny")
    finally:
        os.close(fd)


def enter_cwd(root_fd: int, cwd: str) -> None:
    """Change to `cwd` inside the root.

    Security: CVE-2024-21626. The path is resolved below the root and no magic link of procfs is
    followed, so that /proc/self/fd/N cannot lead to a directory of the host that leaked.

    Raises:
        OSError: as the kernel refuses it.
    """
    fd = open_unmoved(root_fd, cwd, DIRECTORY, INSIDE)
    try:
        os.fchdir(fd)
    finally:
        os.close(fd)


def make_cwd(root_fd: int, cwd: str) -> None:
    """Make the working directory and its parents where they are missing, mode 0755."""
    try:
        os.close(open_unmoved(root_fd, cwd, DIRECTORY, INSIDE))
    except FileNotFoundError:
        os.close(make_dir_in_root(root_fd, cwd))


def cwd_error(cwd: str, error: OSError) -> SetupError:
    """Return the error for a working directory that cannot be entered."""
    return SetupError(
        f'chdir to cwd ("{cwd}") set in config.json failed: {kernel_words(error)}',
        error.errno or 0,
    )
