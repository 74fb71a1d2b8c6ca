"""How the caller of create, run, restore and exec wants it done."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.channel import Tell


class ProcessOptions:
    """The flags of each verb that brings a process into a container.

    Paths are absolute or relative to the working directory. `tell` hears, line by line, the plan
    and each message with its time (`--debug`). `command` is the launcher to execute as init where
    the calling program has threads and may not fork.
    """

    __slots__ = ("command", "console_socket", "pid_file", "pidfd_socket", "preserve_fds", "tell")

    def __init__(
        self,
        *,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        preserve_fds: int = 0,
        tell: Tell | None = None,
        command: str | None = None,
    ) -> None:
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = pid_file
        self.preserve_fds = preserve_fds
        self.tell = tell
        self.command = command

    @property
    def may_fork(self) -> bool:
        """Whether this process may fork and change its directory: it has no other threads."""
        return self.command is None


class CreateOptions(ProcessOptions):
    """The flags of create, run and restore.

    `rootless` ("true", "false", else decided by who we are): accept that the cgroup cannot be
    made. `notify_socket` is the host's, notified when the container is ready (sd_notify.py).
    `document` is the configuration of a program that has no file of it, and may be changed;
    `bundle` is then where its relative paths begin. `engine` is the name of one, "" for what the
    bundle asks for: native, or vm.
    """

    __slots__ = (
        "bundle",
        "cgroup_manager",
        "config",
        "document",
        "engine",
        "no_new_keyring",
        "no_pivot",
        "notify_socket",
        "rootless",
    )

    def __init__(
        self,
        bundle: str = ".",
        config: str = "config.json",
        *,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        cgroup_manager: str = "cgroupfs",
        rootless: str = "auto",
        notify_socket: str | None = None,
        tell: Tell | None = None,
        command: str | None = None,
        document: object = None,
        engine: str = "",
    ) -> None:
        super().__init__(
            console_socket=console_socket,
            pidfd_socket=pidfd_socket,
            pid_file=pid_file,
            preserve_fds=preserve_fds,
            tell=tell,
            command=command,
        )
        self.bundle = bundle
        self.document = document
        self.engine = engine
        self.config = config
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.notify_socket = notify_socket


class ExecOptions(ProcessOptions):
    """The flags of exec that are not about the process itself.

    `cgroups` are the arguments of `--cgroup` (see cgroup_below), none for the container's own
    cgroup. `ignore_paused` allows a paused container.
    """

    __slots__ = ("cgroups", "detach", "ignore_paused")

    def __init__(
        self,
        *,
        console_socket: str | None = None,
        pidfd_socket: str | None = None,
        pid_file: str | None = None,
        detach: bool = False,
        preserve_fds: int = 0,
        cgroups: tuple[str, ...] = (),
        ignore_paused: bool = False,
        tell: Tell | None = None,
        command: str | None = None,
    ) -> None:
        super().__init__(
            console_socket=console_socket,
            pidfd_socket=pidfd_socket,
            pid_file=pid_file,
            preserve_fds=preserve_fds,
            tell=tell,
            command=command,
        )
        self.detach = detach
        self.cgroups = cgroups
        self.ignore_paused = ignore_paused
