"""A mount namespace with a private tmpfs, which ends with the last process in it.

The tmpfs covers STATE-ROOT/@try, an empty directory that all calls share. A caller who is not root
also enters a user namespace, in which it may mount.

Kernel: an overlay in a user namespace needs 5.11; on a tmpfs 6.6, for its user.* attributes.
Source: mount_namespaces(7), user_namespaces(7), tmpfs(5); docs/try.md#rootless.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing, kernel_words
from ocirun.kernel.mount import AT_FDCWD, AT_RECURSIVE, MS_SLAVE, mount, mount_setattr
from ocirun.kernel.process import CLONE_NEWNS, CLONE_NEWUSER, unshare
from ocirun.process.user import become_root_of_namespace
from ocirun.process.userns_maps import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

    from ocirun.spec.types import IDMapping

NAME: Final = "@try"
MS_NOSUID_NODEV: Final = 6
MAX_ANSWER_BYTES: Final = 4096


def enter_scratch(state_root: str, maps: tuple[list[IDMapping], list[IDMapping]] | None) -> str:
    """Move this process, which must have one thread, to a mount namespace with a private tmpfs.

    `state_root` exists. With `maps` (uids and gids) the process also becomes root of a new user
    namespace.

    Returns:
        The tmpfs's absolute path.

    Raises:
        SetupError: the kernel refused a step; the message has the remedy if it is known.
    """
    place = f"{state_root}/{NAME}"
    with doing(f"making the directory {place}"):
        os.makedirs(place, 0o700, exist_ok=True)
    if maps:
        _enter_user_namespace(*maps)
    with doing("making a mount namespace"):
        unshare(CLONE_NEWNS)
        mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, propagation=MS_SLAVE)
    with doing(f"mounting a tmpfs on {place}"):
        mount("tmpfs", place, "tmpfs", MS_NOSUID_NODEV, "mode=755")
    return place


def _enter_user_namespace(uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> None:
    """Enter a new user namespace as its root.

    Order: a child is forked first and stays outside, because the mappings must be written from
    there.
    """
    pid = os.getpid()
    ready, told = os.pipe()
    answer, answered = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _write_maps_for(pid, ready, answered, (uid_mappings, gid_mappings))
    os.close(ready)
    os.close(answered)
    try:
        try:
            unshare(CLONE_NEWUSER)
        except OSError as error:
            raise SetupError(
                f"making a user namespace: {kernel_words(error)}; "
                "`ocirun doctor` shows what this machine forbids to users other than root",
                error.errno or 0,
            ) from error
        os.write(told, b"1")
        failure = os.read(answer, MAX_ANSWER_BYTES)
    finally:
        os.close(told)
        os.close(answer)
        os.waitpid(child, 0)
    if failure:
        raise SetupError(failure.decode("utf-8", "surrogateescape"))
    become_root_of_namespace()


def _write_maps_for(
    pid: int, ready: int, answered: int, maps: tuple[list[IDMapping], list[IDMapping]]
) -> NoReturn:
    """In the child: wait for the namespace of `pid`, write its mappings, report errors, exit."""
    try:
        if os.read(ready, 1):  # empty: the parent created no namespace
            write_id_maps(pid, *maps)
    except BaseException as error:  # noqa: BLE001  # the parent raises it
        os.write(answered, str(error).encode("utf-8", "surrogateescape")[:MAX_ANSWER_BYTES])
    os._exit(0)
