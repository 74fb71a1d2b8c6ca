"""Networks of type user: pasta or slirp4netns, user-mode network stacks.

    container ── eth0, a tap device ── pasta ── sockets of the caller ── outside

The program needs no privileges and creates nothing on the host, so rootless containers can use it.
It lives as long as init, see kernel/companion.py.

Source: docs/network.md#user; pasta(1), slirp4netns(1).
"""

from __future__ import annotations

import os
import select
import time

from ocirun.errors import SetupError, doing
from ocirun.kernel.companion import NOTICE_FD, Companion
from ocirun.kernel.procstat import start_time
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.network.attachment import Attachment
    from ocirun.network.sides import Sides
    from ocirun.spec.networks import Network
    from ocirun.spec.ports import Port

PROGRAMS: Final = ("pasta", "slirp4netns")
MISSING: Final = (
    "a network of type user needs the program pasta (Debian's package passt) or slirp4netns, and "
    "none of them is in PATH"
)
# Files in the container's directory, for bind mounts of the namespaces that only the program sees.
PLACES: Final = ("netns", "userns")
READY_S: Final = 30.0
END_S: Final = 10.0
SIGKILL: Final = 9
MOST_WORDS: Final = 1000
NOISE: Final = b"Failed to send "  # printed by pasta without a syslog daemon


def check(attachment: Attachment, _: Network) -> None:
    """Check that the host has one of the programs, and that it supports the ports.

    Raises:
        SetupError: it is not in PATH, or it is slirp4netns and there are ports.
    """
    path = _find_program()
    if attachment.ports and os.path.basename(path) != "pasta":
        raise SetupError(f"{path} leads no ports to a container: that needs pasta (package passt)")


def create(attachment: Attachment, sides: Sides, init_pidfd: int, folder: str) -> None:
    """Start the program, and wait until the container has its device.

    `init_pidfd` (borrowed) is the container's init, with which the program ends; `folder` is the
    container's directory. The program's keeper is recorded in `attachment`.

    Raises:
        SetupError: the program could not be started, failed, or is not ready in time.
    """
    path = _find_program()
    words = _pasta if os.path.basename(path) == "pasta" else _slirp4netns
    # Kernel: without privileges the keeper's namespaces can only be created in the container's user
    # namespace. Root creates them outside, and the program joins the container's by itself.
    is_joined = sides.user_fd >= 0 and os.geteuid() != 0
    needs_join = sides.user_fd >= 0 and not is_joined
    places = {sides.container_fd: f"{folder}/{PLACES[0]}"}
    if needs_join:
        places[sides.user_fd] = f"{folder}/{PLACES[1]}"
    with doing(f"starting {path}"):
        for place in places.values():
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        companion = Companion(
            path,
            words(attachment, *places.values()),
            init_pidfd=init_pidfd,
            places=places,
            userns_fd=sides.user_fd if is_joined else -1,
            gives_notice=words is _slirp4netns,
        )
    try:
        attachment.process = {"pid": companion.pid, "start": start_time(companion.pid) or 0}
        _wait_until_ready(companion, path)
    except BaseException:
        remove(attachment, folder)
        raise
    finally:
        companion.close()


def remove(attachment: Attachment, _: str) -> None:
    """Kill the program unless it has ended with init.

    Raises:
        SetupError: the kernel refused, or the program does not end.
    """
    pid = attachment.process.get("pid", 0)
    if not pid:
        return
    from _signal import pidfd_send_signal

    with doing(f"ending the process {pid}, which keeps the network of the container"):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # Order: compare after opening the pidfd; before that the pid could be reused.
            if start_time(pid) != attachment.process["start"]:
                return
            pidfd_send_signal(pidfd, SIGKILL)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            # Kernel: pid 1 of a namespace ends after all others in it.
            if not poll.poll(END_S * 1000):
                raise SetupError(f"process {pid} has been killed, but does not end")
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)


def _find_program() -> str:
    for name in PROGRAMS:
        if path := find_in_path(name):
            return path
    raise SetupError(MISSING)


def _pasta(attachment: Attachment, netns: str, userns: str = "") -> list[str]:
    """Return the command line of pasta, which daemonizes when it is ready."""
    words = ["pasta", "--config-net", "--quiet", "--stderr", "--no-netns-quit"]
    # Security: the host's loopback is unreachable, and only configured ports are forwarded.
    words += ["--no-map-gw", "-T", "none", "-U", "none"]
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        ports = [_port(port) for port in attachment.ports if port.protocol == protocol]
        words += [word for text in ports or ["none"] for word in (option, text)]
    words += ["--ns-ifname", attachment.name]
    if attachment.mtu:
        words += ["--mtu", str(attachment.mtu)]
    if os.geteuid() == 0:
        words += ["--runas", "0"]  # pasta's default, nobody, could not enter the namespace
    words += ["--userns", userns] if userns else ["--netns-only"]
    return [*words, "--netns", netns]


def _port(port: Port) -> str:
    """Return a port in pasta's syntax: 127.0.0.1/8080-8081:80-81."""
    last = port.count - 1
    pair = [f"{n}-{n + last}" if last else str(n) for n in (port.host, port.container)]
    return (f"{port.address}/" if port.address else "") + ":".join(pair)


def _slirp4netns(attachment: Attachment, netns: str, userns: str = "") -> list[str]:
    words = ["slirp4netns", "--configure", "--disable-host-loopback", f"--ready-fd={NOTICE_FD}"]
    words += ["--enable-sandbox", "--enable-seccomp"]
    if attachment.mtu:
        words.append(f"--mtu={attachment.mtu}")
    if userns:
        words.append(f"--userns-path={userns}")
    return [*words, "--netns-type=path", netns, attachment.name]


def _wait_until_ready(companion: Companion, path: str) -> None:
    end = time.monotonic() + READY_S
    said = b""
    poll = select.poll()
    for fd in (companion.told_fd, companion.words_fd):
        poll.register(fd, select.POLLIN)
    while True:
        left_s = end - time.monotonic()
        ready = [fd for fd, _ in poll.poll(max(0, left_s * 1000))]
        said = (said + companion.words())[-MOST_WORDS:]
        if companion.told_fd in ready:
            how = _failure_of(*companion.message())
            if how is None:
                return
            said = (said + companion.words())[-MOST_WORDS:]
            raise SetupError(": ".join([f"{path} {how}", *_lines(said)]))
        if left_s <= 0:
            words = f"{path} is not ready after {READY_S:.0f} s"
            raise SetupError(": ".join([words, *_lines(said)]))


def _failure_of(kind: str, value: int) -> str | None:
    """Return the failure that a message of the keeper reports, None if the program is ready."""
    if kind == "f":
        return f"could not be started: {os.strerror(value).lower()}"
    if kind == "e":
        code = os.waitstatus_to_exitcode(value)
        if code == 0:
            return None
        return f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
    return None if kind == "1" else "has ended"


def _lines(said: bytes) -> list[str]:
    """Return the program's output as a list of one line, or an empty list."""
    lines = [line.strip() for line in said.splitlines() if not line.startswith(NOISE)]
    text = os.fsdecode(b"; ".join(line for line in lines if line))
    return [text] if text else []
