"""Restore a container from its images: CRIU makes its processes again, as they were.

    claim ─► cgroup ─► mountpoints ─► criu RESTORE ─────────────────────────► running
                                       │ setup-namespaces   prestart, createRuntime hooks
                                       │ orphan-pts-master  the terminal goes to its socket
                                       └ post-restore       limits, and the record has init's pid

There is no gate: what is restored runs at once. Whatever fails, nothing of it is left.

Source: docs/runc-compat/checkpoint.md#restore; criu.org/Checkpoint/Restore.
"""

from __future__ import annotations

from ocirun.container.create import Creation
from ocirun.container.criu_options import Folders, require_root
from ocirun.container.delete import destroy
from ocirun.container.first_faults import refuse_first
from ocirun.container.init_process import open_init
from ocirun.container.kill import kill_and_wait
from ocirun.container.run import undo_start
from ocirun.criu.externals import (
    inherited_namespaces,
    joined_namespaces,
    restored_mounts,
)
from ocirun.criu.messages import RESTORE
from ocirun.criu.network import bring_up_loopback_of
from ocirun.criu.scratch import ScratchRoot, make_mountpoints
from ocirun.criu.service import FIRST_INHERITED_FD, Criu, ask_version, require_features
from ocirun.criu.settings import config_file
from ocirun.criu.stdio import load_names, pipes_among
from ocirun.errors import Problem, SetupError, UnsupportedError, UsageError
from ocirun.kernel.prctl import set_child_subreaper
from ocirun.kernel.procstat import start_time
from ocirun.process.clone import reap
from ocirun.process.foreground import Foreground
from ocirun.process.sockets import send_fd
from ocirun.security.executable import require_seal
from ocirun.spec import LANDLOCK, NETWORKS, OVERLAY
from ocirun.spec.devices import implied_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.criu_options import CriuOptions
    from ocirun.container.options import CreateOptions
    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.errors import OcirunError

LOG: Final = "restore.log"


def restore(
    store: Store,
    container_id: str,
    options: CreateOptions,
    criu_options: CriuOptions,
    *,
    detach: bool,
    subreaper: bool,
) -> tuple[int, list[OcirunError]]:
    """Restore a container from `criu_options.image_path` with the bundle that `options` name.

    Returns:
        What `run` returns: the exit status (0 when detached), and what failed of poststop hooks.

    Raises:
        OcirunError: it could not be restored; nothing is left of it.
    """
    require_root("restore")
    try:
        criu_options.check()
    except UsageError:
        refuse_first(store, container_id, options)
        raise
    if detach:
        _restore(store, container_id, options, criu_options).close()
        return 0, []
    if subreaper:
        set_child_subreaper()
    with (
        Foreground() as foreground,
        _restore(store, container_id, options, criu_options, foreground) as record,
    ):
        try:
            pidfd = open_init(record)
            foreground.connect()
            status = foreground.wait_for(record.init_process_pid, pidfd)
        except BaseException as error:
            undo_start(record, error)
            raise
        return status, destroy(record)


def _restore(
    store: Store,
    container_id: str,
    options: CreateOptions,
    criu_options: CriuOptions,
    foreground: Foreground | None = None,
) -> Record:
    require_seal()
    refuse_first(store, container_id, options)
    with Folders(criu_options, LOG, make=False) as folders:
        criu_options.check_version(ask_version())
        require_features(memory_tracking=False, lazy_pages=criu_options.lazy_pages)
        restoration = Restoration(store, container_id, options, foreground)
        restoration.criu_options = criu_options
        restoration.folders = folders
        restoration.bring()
    restoration.record.directory.unlock()
    return restoration.record


class Restoration(Creation):
    """One restore in progress: CRIU makes the processes, so there is no conversation with init."""

    criu_options: CriuOptions
    folders: Folders

    def check(self) -> None:
        """Refuse what create refuses, and what a restore cannot bring back."""
        super().check()
        if self.config.get("linux", {}).get("netDevices"):
            message = "network devices cannot be moved into a container that is restored"
            raise UnsupportedError([Problem("/linux/netDevices", message)])
        if OVERLAY in self.config.get("annotations", ()):
            message = "an overlay is in memory, and no part of a checkpoint"
            raise UnsupportedError([Problem(f"/annotations/{OVERLAY}", message)])
        if self.networks:
            message = "networks cannot be made for a container that is restored"
            raise UnsupportedError([Problem(f"/annotations/{NETWORKS}", message)])
        if self.request.landlock:
            # Security: the restored processes would be as free as if nobody had asked.
            name = next(name for name in self.config["annotations"] if name.startswith(LANDLOCK))
            message = "CRIU does not restore what Landlock confines"
            raise UnsupportedError([Problem(f"/annotations/{name}", message)])

    def prepare(self) -> None:
        """Check everything. The seccomp filters are in the images."""
        self.check()

    def bring_in(self) -> None:
        """Make the container, and let CRIU make its processes in the new cgroup and root."""
        self.claim_id()
        self.claim_cgroup()
        options, folders = self.criu_options, self.folders
        self.empty_network = bool(options.empty_ns)
        file = config_file(self.record.annotations)
        make_mountpoints(self.config, self.request)
        inherited = self._inherited()
        # Security: what is restored must not gain rights that it had given up for good.
        no_new_privs = self.config["process"].get("noNewPrivileges", False)
        with (
            ScratchRoot(self.record.directory.path, self.request.rootfs) as scratch,
            Criu(folders.work, [fd for _, fd in inherited], no_new_privs=no_new_privs) as criu,
        ):
            self.undo.add("killing what was restored", self._kill_restored)
            # CRIU's children are born where it is, and it finds out there what is theirs.
            self.cgroup.join(criu.pid)
            if self.resctrl:
                self.resctrl.apply()
                self.resctrl.join(criu.pid)
            fields = {
                **options.common(),
                "images_dir_fd": folders.image_fd,
                "work_dir_fd": folders.work.fd,
                "log_file": LOG,
                "root": scratch.path,
                "rst_sibling": True,
                "tcp_close": options.tcp_close,
                "ext_mnt": self._external_mounts(),
                "join_ns": joined_namespaces(self.request.namespaces),
                "inherit_fd": [
                    {"key": key, "fd": number}
                    for number, (key, _) in enumerate(inherited, FIRST_INHERITED_FD)
                ],
            }
            if options.lsm_profile:
                fields["lsm_profile"] = options.lsm_profile
            if options.lsm_mount_context:
                fields["lsm_mount_context"] = options.lsm_mount_context
            if file:
                fields["config_file"] = file
            if self.record.cgroup_paths:
                fields["cg_root"] = _own_cgroups(criu.pid)
            response = criu.converse(RESTORE, self._on_notify, opts=fields)
        if not self.has_run or response.restore.pid != self.record.init_process_pid:
            raise SetupError("criu has restored a process of which it did not tell before")

    def init_pidfd(self) -> int:
        """Return -1: CRIU, which waits for our hooks, reports its own failures."""
        return -1

    def _inherited(self) -> list[tuple[str, int]]:
        """Return (key, descriptor) of what replaces descriptors and namespaces of the host."""
        found = inherited_namespaces(self.request.namespaces)
        for name, number in pipes_among(load_names(self.folders.image_fd)):
            fd = self.stdio.fds[number] if self.stdio.fds else number
            found.append((name, fd))
        return found

    def _external_mounts(self) -> list[dict[str, str]]:
        hierarchies = self.request.hierarchies
        return restored_mounts(self.config, self.request.bundle, hierarchies)

    def _on_notify(self, name: str, pid: int, fds: list[int]) -> None:
        """Do our part where CRIU stops for it."""
        if self.options.tell:
            self.options.tell(f"criu: {name}")
        if name == "setup-namespaces":
            self._remember_init(pid)
            if "network" in self.request.namespaces.new and not self.empty_network:
                bring_up_loopback_of(pid)
            self.run_hooks("prestart")
            self.run_hooks("createRuntime")
        elif name == "post-restore":
            self._remember_init(pid)
            # Order: while it is stopped. It may end as soon as it runs, before we wait for it.
            open_init(self.record)
            # Order: here, where all are made and none runs yet: CRIU in the cgroup itself needs
            # memory, processes and devices that the container may not have.
            self.cgroup.apply(
                self.config.get("linux", {}).get("resources") or {},
                userns=self.request.namespaces.has("user"),
                implied=implied_rules(self.config),
            )
            self.record.write_init()
        elif name == "orphan-pts-master" and fds and self.stdio.console >= 0:
            send_fd(self.stdio.console, fds[0], "/dev/ptmx")

    def _remember_init(self, pid: int) -> None:
        self.has_run = True
        self.record.init_process_pid = pid
        self.record.init_process_start = start_time(pid) or 0

    def _kill_restored(self) -> None:
        """Kill what CRIU has made and has not undone itself."""
        self.cgroup.kill_all()
        kill_and_wait(self.record)
        if self.record.init_process_pid:
            reap(self.record.init_process_pid)

    def pid(self) -> int:
        """Return the host pid of init."""
        return self.record.init_process_pid


def _own_cgroups(pid: int) -> list[dict[str, str]]:
    """Return, for CRIU, the new cgroup paths that replace the old ones."""
    found = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            found += [{"ctrl": name, "path": path} for name in controllers.split(",")]
    return found
