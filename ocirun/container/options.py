"""How the caller of create and run wants it done."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.channel import Tell


class CreateOptions:
    """The flags of create and run; paths are absolute or relative to the working directory.

    `tell` hears, line by line, the plan and each message with its time (`--debug`). `command` is
    the launcher to execute as init where the calling program has threads and may not fork.
    `rootless` ("true", "false", else decided by who we are) tells whether to live with a cgroup
    that may not be made. `document` is the configuration of a program that has no file of it, and
    may be changed; `bundle` is then where its relative paths begin. `notify_socket` is the host's,
    which shall hear when the container is ready (sd_notify.py).
    """

    __slots__ = (
        "bundle",
        "cgroup_manager",
        "command",
        "config",
        "console_socket",
        "document",
        "no_new_keyring",
        "no_pivot",
        "notify_socket",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "rootless",
        "tell",
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
    ) -> None:
        self.bundle = bundle
        self.document = document
        self.config = config
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.notify_socket = notify_socket
        self.tell = tell
        self.command = command
