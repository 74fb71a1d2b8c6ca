"""QEMU's command line, and what is plugged into a machine that runs.

Source: qemu(1), qemu-qmp-ref(7).
"""

from __future__ import annotations

import os

from ocirun.engines.vm.qmp import QmpError
from ocirun.errors import SetupError, doing
from ocirun.kernel.process import without_clone3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.engines.vm.qmp import Qmp

QEMU: Final = "qemu-system-x86_64"
TAG: Final = "ocirun"  # as in guest/root.c, guest/main.c
SHARE, IMAGE = "share", "image"
HAVE_BACKING: Final = ("qcow2", "vmdk")
MACHINE: Final = "pc"  # its bus takes devices while it runs; q35's first needs a port for each
NOBODY: Final = 65534
RUN_WITH_USER: Final = [9, 1]
VERSION_S: Final = 10.0
MIB: Final = 1 << 20
# Of the guest's kernel. A kernel that panics ends the machine (panic=-1, -no-reboot).
KERNEL: Final = (
    "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on audit=0 nowatchdog"
    " no_timer_check tsc=reliable"
)
# Emulation: what only protects one program of the guest from another costs half of the time.
EMULATED: Final = " mitigations=off nokaslr"
# Security: an attacker who escapes from the guest into QEMU is the user nobody, without execve.
SANDBOX: Final = "on,obsolete=deny,spawn=deny,resourcecontrol=deny"


class Hardware:
    """One machine: the kernel and what it has. Paths are absolute, `memory` is in bytes.

    `states` is the folder of saved states, "" where the machine always boots (saved.py). `image` is
    the path of the root's image, "" for none, with QEMU's name of its format.
    """

    __slots__ = (
        "cpus",
        "has_kvm",
        "hypervisor",
        "image",
        "initrd",
        "kernel",
        "kernel_parameters",
        "memory",
        "parameters",
        "states",
    )

    def __init__(
        self,
        hypervisor: str,
        kernel: str,
        initrd: str,
        *,
        memory: int,
        cpus: int,
        has_kvm: bool,
        parameters: Sequence[str] = (),
        kernel_parameters: Sequence[str] = (),
        states: str = "",
        image: tuple[str, str] = ("", ""),
    ) -> None:
        self.hypervisor = hypervisor
        self.kernel = kernel
        self.initrd = initrd
        self.memory = memory
        self.cpus = cpus
        self.has_kvm = has_kvm
        self.parameters = parameters
        self.kernel_parameters = kernel_parameters
        self.states = states
        self.image = image

    def memory_mib(self) -> int:
        """Return the memory in MiB, rounded up."""
        return -(-self.memory // MIB)


def command_line(
    hardware: Hardware,
    *,
    qmp: int,
    agent: int,
    console: int,
    memory: int,
    user: Sequence[str],
    is_restored: bool = False,
) -> list[str]:
    """Return the words of a machine whose sockets and memory have these numbers.

    It boots, or waits for a saved state. `user` is of `user_options`.
    """
    mib = hardware.memory_mib()
    append = KERNEL + ("" if hardware.has_kvm else EMULATED)
    path = f"/proc/self/fd/{memory}"
    backend = f"memory-backend-file,id=memory,size={mib}M,share=on,mem-path={path}"
    port = f"virtserialport,chardev=agent,name={TAG}"
    return [
        hardware.hypervisor,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-M", f"{MACHINE},memory-backend=memory", "-object", backend, "-m", f"{mib}M"),
        *("-accel", "kvm" if hardware.has_kvm else "tcg,thread=multi"),
        *("-cpu", "host" if hardware.has_kvm else "max", "-smp", str(hardware.cpus)),
        *("-kernel", hardware.kernel, "-initrd", hardware.initrd),
        *("-append", " ".join([append, *hardware.kernel_parameters])),
        *("-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=agent,fd={agent}", "-device", "virtio-serial-pci"),
        *("-device", port),
        *("-sandbox", SANDBOX, *user),
        *(("-incoming", "defer") if is_restored else ()),
        *hardware.parameters,
    ]


def user_options(hypervisor: str) -> list[str]:
    """Return the words by which QEMU becomes nobody once it has opened its files.

    Raises:
        SetupError: it cannot be executed, or does not print its version.
    """
    import subprocess  # cold

    command = [hypervisor, "--version"]
    with doing(f"asking {hypervisor} for its version"):
        try:
            done = without_clone3(
                lambda: subprocess.run(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                    timeout=VERSION_S,
                )
            )
        except subprocess.TimeoutExpired as error:
            raise SetupError(f"no answer in {VERSION_S:g} s") from error
    return user_options_of(os.fsdecode(done.stdout))


def user_options_of(version: str) -> list[str]:
    """Return them for what QEMU prints as its version.

    From 9.1 on there is -run-with user=, and from 10.0 on no -runas.
    """
    number = version.partition("QEMU emulator version ")[2].split(".")[:2]
    user = f"{NOBODY}:{NOBODY}"
    if len(number) == 2 and all(map(str.isdecimal, number)) and [*map(int, number)] < RUN_WITH_USER:
        return ["-runas", user]
    return ["-run-with", f"user={user}"]


def plug_share(qmp: Qmp, fd: int) -> None:
    """Plug in virtiofsd's share, over the connection `fd` (borrowed) to it.

    It is not on the command line because QEMU cannot save a machine that has one.

    Raises:
        QmpError: QEMU or virtiofsd refuses.
    """
    qmp.command("getfd", {"fdname": SHARE}, fd)
    socket = {"addr": {"type": "fd", "data": {"str": SHARE}}, "server": False}
    chardev = {"id": SHARE, "backend": {"type": "socket", "data": socket}}
    qmp.command("chardev-add", chardev)
    device = {"driver": "vhost-user-fs-pci", "chardev": SHARE, "tag": TAG, "id": SHARE}
    qmp.command("device_add", device)


def plug_taps(qmp: Qmp, taps: Sequence[tuple[int, str]]) -> None:
    """Plug in network devices: `taps` (borrowed) with the hardware addresses of the guest's.

    Raises:
        QmpError: QEMU refuses.
    """
    for number, (tap, hardware_address) in enumerate(taps):
        name = f"net{number}"
        qmp.command("getfd", {"fdname": name}, tap)
        qmp.command("netdev_add", {"type": "tap", "id": name, "fd": name})
        device = {"driver": "virtio-net-pci", "netdev": name, "id": f"{name}-device"}
        qmp.command("device_add", {**device, "mac": hardware_address, "romfile": ""})


def open_image(qmp: Qmp, image: tuple[str, str], *, readonly: bool) -> None:
    """Have QEMU open an image, a path and its format, which the guest does not see yet.

    Security: the format is never guessed, because a guest could write another's header into a raw
    one; no other file is opened for it. QEMU is nobody already, and gets the file opened.

    Raises:
        QmpError: QEMU refuses.
        SetupError: it is no regular file, or the kernel refuses.
    """
    path, kind = image
    with doing(f"opening the image {path}"):
        fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not os.path.isfile(f"/proc/self/fd/{fd}"):
                raise SetupError(f"the image {path} is no regular file")
            number = qmp.command("add-fd", {}, fd)["fdset-id"]
        finally:
            os.close(fd)
    file = {"driver": "file", "filename": f"/dev/fdset/{number}"}
    node: dict[str, object] = {"driver": kind, "node-name": IMAGE, "file": file}
    if kind in HAVE_BACKING:
        node["backing"] = None
    try:
        qmp.command("blockdev-add", {**node, "read-only": readonly})
    except QmpError as error:
        raise QmpError(f"opening the image {path} as {kind}: {error}") from error


def plug_image(qmp: Qmp) -> None:
    """Plug in the image that is open.

    Raises:
        QmpError: QEMU refuses.
    """
    qmp.command("device_add", {"driver": "virtio-blk-pci", "drive": IMAGE, "id": f"{IMAGE}-device"})
