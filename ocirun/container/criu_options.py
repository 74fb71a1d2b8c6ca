"""The options of checkpoint and restore, and the part of CRIU's request that both set.

It is apart from options.py because that is on the hot path of create, run and exec: this module
imports `ocirun.criu`, which only checkpoint and restore need, and does more than hold flags: it
validates them, opens the directories, and encodes them for CRIU.

Source: docs/runc-compat/cli.md#checkpoint-and-restore; criu(8).
"""

from __future__ import annotations

import os

from ocirun.criu.messages import CGROUP_MODES, NETWORK_LOCKS
from ocirun.criu.service import WorkFolder
from ocirun.errors import SetupError, UsageError, doing
from ocirun.kernel.process import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from ocirun.process.channel import Tell

LOG_LEVEL: Final = 4  # debug: CRIU's maintainers ask for it in bug reports
CONTEXT_SINCE: Final = (3, 16, 0)


class CriuOptions:
    """The flags of checkpoint and restore; paths are absolute, `parent_path` is relative.

    Flags of only one of the verbs keep their default for the other. `page_server` is
    "ADDRESS:PORT", `status_fd` a descriptor (borrowed) to write to when pages can be fetched (-1:
    none).
    """

    def __init__(
        self,
        image_path: str,
        work_path: str = "",
        *,
        parent_path: str = "",
        leave_running: bool = False,
        pre_dump: bool = False,
        tcp_established: bool = False,
        tcp_skip_in_flight: bool = False,
        tcp_close: bool = False,
        ext_unix_sk: bool = False,
        shell_job: bool = False,
        file_locks: bool = False,
        link_remap: bool = False,
        auto_dedup: bool = False,
        lazy_pages: bool = False,
        page_server: str = "",
        status_fd: int = -1,
        manage_cgroups_mode: str = "",
        network_lock: str = "",
        empty_ns: Sequence[str] = (),
        lsm_profile: str = "",
        lsm_mount_context: str = "",
        tell: Tell | None = None,
    ) -> None:
        self.image_path = image_path
        self.work_path = work_path or image_path
        self.parent_path = parent_path
        self.leave_running = leave_running
        self.pre_dump = pre_dump
        self.tcp_established = tcp_established
        self.tcp_skip_in_flight = tcp_skip_in_flight
        self.tcp_close = tcp_close
        self.ext_unix_sk = ext_unix_sk
        self.shell_job = shell_job
        self.file_locks = file_locks
        self.link_remap = link_remap
        self.auto_dedup = auto_dedup
        self.lazy_pages = lazy_pages
        self.page_server = page_server
        self.status_fd = status_fd
        self.manage_cgroups_mode = manage_cgroups_mode
        self.network_lock = network_lock
        self.empty_ns = tuple(empty_ns)
        self.lsm_profile = lsm_profile
        self.lsm_mount_context = lsm_mount_context
        self.tell = tell

    def check(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            UsageError: with what they may be.
        """
        if self.manage_cgroups_mode not in ("", *CGROUP_MODES):
            raise UsageError(
                f"invalid --manage-cgroups-mode {self.manage_cgroups_mode!r}: "
                "soft, full, strict or ignore"
            )
        if self.network_lock not in ("", *NETWORK_LOCKS):
            raise UsageError(
                f"invalid --network-lock {self.network_lock!r}: iptables, nftables or skip"
            )
        for kind in self.empty_ns:
            if kind != "network":
                raise UsageError(f"namespace {kind!r} is not supported by --empty-ns")
        if os.path.isabs(self.parent_path):
            raise UsageError("--parent-path must be relative to --image-path")
        if self.page_server:
            self.server()

    def server(self) -> dict[str, Any]:
        """Read `page_server`.

        Raises:
            UsageError: it is not of that form.
        """
        address, _, port = self.page_server.rpartition(":")
        if not (address and port.isascii() and port.isdecimal() and int(port) < 1 << 16):
            raise UsageError(f"invalid --page-server {self.page_server!r}: it must be ADDRESS:PORT")
        return {"address": address.strip("[]"), "port": int(port)}

    def common(self) -> dict[str, Any]:
        """Return the fields of CRIU's options that both verbs fill in the same way."""
        fields: dict[str, Any] = {
            "log_level": LOG_LEVEL,
            "notify_scripts": True,
            "orphan_pts_master": True,
            "tcp_established": self.tcp_established,
            "ext_unix_sk": self.ext_unix_sk,
            "shell_job": self.shell_job,
            "file_locks": self.file_locks,
            "auto_dedup": self.auto_dedup,
            "lazy_pages": self.lazy_pages,
            "manage_cgroups": True,
            # criu/network.py says why; --empty-ns network adds that lo stays down.
            "empty_ns": CLONE_NEWNET,
        }
        if self.manage_cgroups_mode:
            fields["manage_cgroups_mode"] = CGROUP_MODES[self.manage_cgroups_mode]
        if self.network_lock:
            fields["network_lock"] = NETWORK_LOCKS[self.network_lock]
        return fields

    def check_version(self, version: tuple[int, int, int]) -> None:
        """Refuse what this CRIU cannot do yet, which it would pass over in silence.

        Raises:
            SetupError: it is too old.
        """
        if version < CONTEXT_SINCE and (self.lsm_profile or self.lsm_mount_context):
            found = ".".join(map(str, version))
            raise SetupError(f"--lsm-profile and --lsm-mount-context need criu 3.16, it is {found}")


class Folders:
    """The opened folders of images and of CRIU's work: `image_fd`, `work`; owns the descriptors."""

    __slots__ = ("_fds", "image_fd", "work")

    def __init__(self, options: CriuOptions, log: str, *, make: bool) -> None:
        """Open them; the work folder is made where it lacks, that of images with `make`.

        Security: 0700, for images hold all the memory of the container.
        """
        self._fds: list[int] = []
        try:
            self.image_fd = self._open(options.image_path, make=make)
            work_fd = self._open(options.work_path, make=True)
        except BaseException:
            self.close()
            raise
        self.work = WorkFolder(work_fd, options.work_path, log)

    def _open(self, path: str, *, make: bool) -> int:
        with doing(f"opening {path}"):
            if make:
                os.makedirs(path, 0o700, exist_ok=True)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both."""
        while self._fds:
            os.close(self._fds.pop())


def require_root(verb: str) -> None:
    """Refuse the verb to users other than root.

    Raises:
        UsageError: we are not root.
    """
    if os.geteuid() != 0:
        raise UsageError(f"{verb} needs root: CRIU reads and writes the memory of any process")
