"""Readiness: what a container writes to its NOTIFY_SOCKET, relayed to the host's service manager.

    create   ROOT/ID/notify is a folder, bind-mounted on /run/notify in the container
    start    binds ROOT/ID/notify/notify.sock, opens the gate, and listens until the program is
             ready or has ended; ready, it sends the host's socket READY=1, MAINPID=… and BARRIER=1

Security: the container is hostile, and what a service manager believes of it would be done to the
host: MAINPID= and FDSTORE= name things, STATUS= and ERRNO= are shown to people. So nothing that it
sends is passed on. One word is understood, and what goes out is written here.

Source: sd_notify(3), systemd.service(5), sd_notify_barrier(3);
docs/runc-compat/protocols.md#notify_socket.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import stat
import sys

from ocirun.errors import SetupError, UsageError, doing, kernel_words, warn
from ocirun.kernel.process import start_thread
from ocirun.process.sockets import through_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.folder import Folder
    from ocirun.errors import OcirunError
    from ocirun.spec.types import Config

FOLDER: Final = "notify"
NAME: Final = "notify.sock"
INSIDE: Final = "/run/notify"  # where the container finds the folder
READY: Final = b"READY=1"
# As much as systemd reads of one message; of a longer one it believes nothing, nor do we.
MAX_MESSAGE: Final = 4096
BARRIER_SECONDS: Final = 30.0
# How many messages are read after the program's end; no queue of a socket is near as long.
LAST_MESSAGES: Final = 4096


def check_notify(config: Config, notify_socket: str) -> None:
    """Refuse a NOTIFY_SOCKET that is no address, or that the container could not be given.

    Raises:
        UsageError: with the reason.
    """
    if notify_socket[0] not in "/@" or len(notify_socket) < 2:
        raise UsageError(f"NOTIFY_SOCKET={notify_socket}: neither an absolute path nor @NAME")
    kinds = [entry["type"] for entry in config.get("linux", {}).get("namespaces") or []]
    if "mount" not in kinds:
        raise UsageError("NOTIFY_SOCKET is set, but a container without a mount namespace of its "
                         "own cannot be given a socket (unset it)")  # fmt: skip


def give_notify(config: Config, directory: Folder) -> Config:
    """Make the folder in `directory`, the container's; return the config that brings it inside.

    Only init sees that: a process of exec has its own readiness, and no manager that waits for it.
    """
    folder = f"{directory.path}/{FOLDER}"
    with doing(f"making {folder}"):
        os.mkdir(FOLDER, dir_fd=directory.fd)
        # Whatever our umask: every user of the container goes through it.
        os.chmod(FOLDER, 0o755, dir_fd=directory.fd)  # noqa: S103
    mount = {
        "destination": INSIDE,
        "type": "bind",
        "source": folder,
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    process = config["process"]
    environment = [*(process.get("env") or []), f"NOTIFY_SOCKET={INSIDE}/{NAME}"]
    return {
        **config,
        "mounts": [*(config.get("mounts") or []), mount],  # type: ignore[list-item]  # it is one
        "process": {**process, "env": environment},
    }


class Notify:
    """The socket that one container talks to, and the one of the host that it is relayed to.

    Made before the gate opens, so that no message can come too early. Owns its descriptors.
    """

    __slots__ = ("_failures", "_folder_fd", "_host", "_inside", "_over")

    def __init__(self, directory: Folder, notify_socket: str) -> None:
        self._failures: list[OcirunError] = []
        self._over: _thread.LockType | None = None
        self._host = _connect(notify_socket)
        self._inside = _datagram_socket()
        self._folder_fd = -1
        try:
            # Security: by descriptor. A container with root's rights may have written there.
            with doing(f"opening {directory.path}/{FOLDER}"):
                self._folder_fd = directory.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
            self._lock()
            with doing(f"binding {directory.path}/{FOLDER}/{NAME}"):
                self._unlink()
                self._bind()
        except BaseException:
            self._hang_up()
            raise

    def _lock(self) -> None:
        """Bind the socket; whatever is there is what a killed `start` has left."""
        from ocirun.kernel.locks import hold, is_held

        hold(self._folder_fd)
        # Of two that come at the same moment both may give up, never both go on.
        if is_held(self._folder_fd):
            raise SetupError("another start waits for the container to be ready")

    def _bind(self) -> None:
        self._inside.bind(f"/proc/self/fd/{self._folder_fd}/{NAME}")
        fd = os.open(NAME, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd)
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                # Whoever the program runs as, it may write.
                os.chmod(f"/proc/self/fd/{fd}", 0o777)  # noqa: S103
        finally:
            os.close(fd)

    def relay(self, pidfd: int, main_pid: int) -> bool:
        """Wait until the container is ready, and tell the host; False when its init ends instead.

        `pidfd` (borrowed) is that of its init, `main_pid` the process for the manager to watch.

        Raises:
            SetupError: the host's socket does not take it.
        """
        if not self._wait_ready(pidfd):
            return False
        with doing("telling NOTIFY_SOCKET that the container is ready"):
            self._host.settimeout(BARRIER_SECONDS)
            self._host.send(READY)
            self._host.send(f"MAINPID={main_pid}".encode())
            self._barrier()
        return True

    def relay_meanwhile(self, pidfd: int, main_pid: int) -> None:
        """Do what `relay` does, and then hang up, in a thread of its own. `finish` ends it."""
        self._over = _thread.allocate_lock()
        self._over.acquire()
        try:
            start_thread(self._relay_and_close, (pidfd, main_pid, self._over))
        except RuntimeError as error:
            self._over.release()
            raise SetupError(f"listening for the container's READY=1: {error}") from error

    def _relay_and_close(self, pidfd: int, main_pid: int, over: _thread.LockType) -> None:
        try:
            self.relay(pidfd, main_pid)
        except SetupError as error:
            self._failures.append(error)
        finally:
            self.close()
            over.release()

    def finish(self) -> list[OcirunError]:
        """Wait for the thread, which ends soon after init; return what failed in it."""
        if self._over:
            self._over.acquire()
        return self._failures

    def _wait_ready(self, pidfd: int) -> bool:
        poll = select.poll()
        poll.register(self._inside, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ended = pidfd in {fd for fd, _ in poll.poll()}
            # Order: read after the end was seen: a program may say it and be gone.
            for _ in range(LAST_MESSAGES if ended else 1):
                message = self._message()
                if message is None:
                    break
                if is_ready(message):
                    return True
            if ended:
                return False

    def _message(self) -> bytes | None:
        """Return one message; None when there is none.

        Security: without room for control messages the kernel drops, closed, every descriptor
        that came along.
        """
        try:
            return self._inside.recv(MAX_MESSAGE + 1, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _barrier(self) -> None:
        """Wait until the manager has read all we sent: it closes the pipe that comes with it.

        Without this, it could find us gone before it looks whose message it was.
        """
        ours, theirs = os.pipe()
        try:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, theirs.to_bytes(4, sys.byteorder))
            try:
                self._host.sendmsg([b"BARRIER=1"], [rights])
            finally:
                os.close(theirs)
            poll = select.poll()
            poll.register(ours, 0)  # the hang-up is always reported
            if not poll.poll(BARRIER_SECONDS * 1000):
                raise TimeoutError(110, f"no answer to BARRIER=1 within {BARRIER_SECONDS:.0f} s")
        finally:
            os.close(ours)

    def close(self) -> None:
        """Hang up: whatever the container says later is refused, and does not wait to be read."""
        self._unlink()
        self._hang_up()

    def _unlink(self) -> None:
        try:
            os.unlink(NAME, dir_fd=self._folder_fd)
        except (FileNotFoundError, IsADirectoryError):
            return  # nothing there, or the container's own doing

    def _hang_up(self) -> None:
        self._inside.close()
        self._host.close()
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1


def is_ready(message: bytes) -> bool:
    """Return whether a message of the container says that it is ready."""
    return len(message) <= MAX_MESSAGE and READY in message.split(b"\n")


def open_notify(directory: Folder, notify_socket: str | None) -> Notify | None:
    """Return what `start` listens with; None without a manager that waits, or a socket from create.

    A manager that cannot be reached does not wait either: that is a warning, as for runc and crun.
    """
    if not notify_socket or FOLDER not in os.listdir(directory.fd):
        return None
    try:
        return Notify(directory, notify_socket)
    except NotReached as error:
        warn(str(error))
        return None


class NotReached(SetupError):
    """No service listens at the host's NOTIFY_SOCKET."""


def _datagram_socket() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)


def _connect(notify_socket: str) -> _socket.socket:
    host = _datagram_socket()
    try:
        if notify_socket[0] == "@":
            host.connect(b"\0" + os.fsencode(notify_socket[1:]))
        else:
            through_folder(notify_socket, host.connect)
    except OSError as error:
        host.close()
        message = f"connecting to NOTIFY_SOCKET={notify_socket}: {kernel_words(error)}"
        raise NotReached(message, error.errno or 0) from error
    return host
