"""A process on its way into a container: what create, exec and restore have in common.

    prepare     refuse what can be refused, open what the caller named
    bring_in    make the process and bring it to its gate or its program
    publish     hand out the pidfd and the pid file, which the caller takes for success

Each act registers how it is undone. A failure undoes all of them, the last one first.

Source: ARCHITECTURE.md#the-story; docs/runc-compat/protocols.md#pidfd-socket.
"""

from __future__ import annotations

import os

from ocirun.container.syscalls import send_listener
from ocirun.container.undo import Undo
from ocirun.errors import doing
from ocirun.process.pidfile import check_pid_file, write_pid_file
from ocirun.process.sockets import connect_unix, send_fd
from ocirun.process.stdio import Stdio, open_stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.options import ProcessOptions
    from ocirun.container.record import Record
    from ocirun.process.conversation import Conversation
    from ocirun.process.foreground import Foreground
    from ocirun.process.given_stdio import GivenStdio
    from ocirun.process.plan import Plan
    from ocirun.process.request import Request
    from ocirun.spec.types import Config


class NewProcess:
    """One process being brought into a container, and what is held for it meanwhile.

    `fds` are open until `close`, or the undoing. `stdio` is what init is given.
    `parent` is our half of the conversation, `config` and `request` are what it is about.
    `pidfd_payload` goes with the pidfd through the caller's socket; `status` is the container's,
    as a seccomp agent sees it. `foreground` connects the process's terminal or its stdio with ours,
    where the caller stays.
    """

    pidfd_payload = ""
    status = ""

    def __init__(self, options: ProcessOptions, foreground: Foreground | GivenStdio | None) -> None:
        self.options = options
        self.foreground = foreground
        self.undo = Undo()
        self.fds: list[int] = []
        self.stdio = Stdio()
        self.pidfd_socket = -1
        self.config: Config
        self.request: Request
        self.record: Record
        self.cgroup: Cgroup
        self.parent: Conversation

    def bring(self) -> None:
        """Do all acts in order, or leave nothing behind."""
        with self.undo as undo:
            undo.add("closing descriptors", self.close)
            check_pid_file(self.options.pid_file)
            self.prepare()
            self.bring_in()
            self.publish()
            undo.forget()
        self.close()

    def prepare(self) -> None:
        """Refuse what can be refused before anything is made; call open_callers_ends."""
        raise NotImplementedError

    def bring_in(self) -> None:
        """Make the process and bring it to its gate or its program."""
        raise NotImplementedError

    def open_callers_ends(self) -> None:
        """Open the process's stdio, and the socket that its pidfd goes to."""
        socket = self.options.console_socket
        self.stdio = open_stdio(
            self.config, self.request, socket, self.foreground, inherits=self.options.may_fork
        )
        if not self.foreground and self.stdio.console >= 0:
            self.fds.append(self.stdio.console)
        if self.options.pidfd_socket:
            self.pidfd_socket = connect_unix(self.options.pidfd_socket)
            self.fds.append(self.pidfd_socket)

    def tell_plan(self, plan: Plan) -> None:
        """Log the plan, and what of the configuration is ignored, for --debug."""
        if tell := self.options.tell:
            from ocirun.process.ignored import ignored_members

            for line in ignored_members(self.config):
                tell(f"ignoring {line}")
            for line in plan.describe():
                tell(f"plan: {line}")

    def register_parent(self) -> None:
        """Have a failure from here on kill the process of `parent`."""
        self.undo.add("closing the pidfd", self.parent.close)
        self.undo.add("killing the process", self.parent.abandon)

    def spawn(self, first_fds: list[int]) -> None:
        """Make the process inside its cgroup, and send it its configuration and descriptors.

        `first_fds` (borrowed) are sent before those of its stdio. On cgroup v2 it is born in its
        cgroup; into the hierarchies of v1 it steps by itself, through descriptors that we open:
        moving another process makes the kernel wait (cgroups/enter.py).
        """
        ours: list[int] = []
        try:
            cgroup_fd = self.cgroup.cgroup_fd()
            ours += [] if cgroup_fd is None else [cgroup_fd]
            join_fds = self.cgroup.open_join_fds()
            ours += join_fds
            self.request.cgroup_join_fds = len(join_fds)
            last_fds = self.open_last_fds(ours)
            fds = [*first_fds, *self.stdio.sent(), *join_fds, *last_fds]
            # Whether it is born in a cgroup v2 has to be known first.
            ahead = fds if cgroup_fd is None and self.sends_ahead() else None
            self.parent.spawn(self.options.command, cgroup_fd, ahead)
            if cgroup_fd is not None and not self.parent.born_in_cgroup:
                self.move_into_cgroup()
            # Order: before it has children, which would stay where they were born.
            self.join_resctrl()
            # Order: before it has read that, and hides them from users other than root.
            self.open_namespaces()
            self.parent.send_config(fds)
        finally:
            for fd in ours:
                os.close(fd)

    def open_last_fds(self, ours: list[int]) -> list[int]:
        """Return what is sent last, the number of it written into `request`.

        What is opened for that and not only borrowed is added to `ours`.
        """
        del ours
        return []

    def sends_ahead(self) -> bool:
        """Return whether nothing is done with the process before it has its configuration."""
        return False

    def move_into_cgroup(self) -> None:
        """Move the process into the cgroup that it could not be born in."""
        self.cgroup.join(self.parent.pid)

    def join_resctrl(self) -> None:
        """Move the process into the container's resctrl group, if it has one."""

    def open_namespaces(self) -> None:
        """Open those namespaces of the process that we need."""

    def take_listener(self, fd: int) -> None:
        """Send the seccomp filter's descriptor (borrowed) to its agent."""
        send_listener(self.config, self.record.state(self.status), self.parent.pid, fd)

    def pid(self) -> int:
        """Return the host pid of the process."""
        return self.parent.pid

    def pidfd(self) -> int:
        """Return a pidfd of the process (borrowed)."""
        return self.parent.pidfd

    def publish(self) -> None:
        """Send the pidfd and write the pid file; last, because callers take them for success."""
        if self.pidfd_socket >= 0:
            with doing(f"sending the pidfd to {self.options.pidfd_socket}"):
                send_fd(self.pidfd_socket, self.pidfd(), self.pidfd_payload)
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.pid())

    def close(self) -> None:
        """Close what the process has its own copies of."""
        while self.fds:
            os.close(self.fds.pop())
