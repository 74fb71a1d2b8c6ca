"""QEMU's command line.

Source: qemu(1).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

QEMU: Final = "qemu-system-x86_64"
TAG: Final = "ocirun"  # as in guest/root.c, guest/main.c
NOBODY: Final = 65534
MIB: Final = 1 << 20
# Of the guest's kernel. A kernel that panics ends the machine (panic=-1, -no-reboot).
KERNEL: Final = (
    "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on audit=0 nowatchdog"
    " no_timer_check tsc=reliable"
)
# Emulation: what only protects one program of the guest from another costs half of the time.
EMULATED: Final = " mitigations=off nokaslr"
# Security: what escapes from the guest into QEMU is nobody, and can start no program.
SANDBOX: Final = "on,obsolete=deny,spawn=deny,resourcecontrol=deny"


class Hardware:
    """One machine: the kernel and what it has. Paths are absolute, `memory` is in bytes."""

    __slots__ = (
        "cpus",
        "has_kvm",
        "hypervisor",
        "initrd",
        "kernel",
        "kernel_parameters",
        "memory",
        "parameters",
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
    ) -> None:
        self.hypervisor = hypervisor
        self.kernel = kernel
        self.initrd = initrd
        self.memory = memory
        self.cpus = cpus
        self.has_kvm = has_kvm
        self.parameters = parameters
        self.kernel_parameters = kernel_parameters


def command_line(
    hardware: Hardware, *, qmp: int, agent: int, console: int, share: int
) -> list[str]:
    """Return the words of a machine whose sockets have these numbers."""
    mib = -(-hardware.memory // MIB)
    append = KERNEL + ("" if hardware.has_kvm else EMULATED)
    memory = f"memory-backend-memfd,id=memory,size={mib}M,share=on"
    port = f"virtserialport,chardev=agent,name={TAG}"
    return [
        hardware.hypervisor,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-M", "q35,memory-backend=memory", "-object", memory, "-m", f"{mib}M"),
        *("-accel", "kvm" if hardware.has_kvm else "tcg,thread=multi"),
        *("-cpu", "host" if hardware.has_kvm else "max", "-smp", str(hardware.cpus)),
        *("-kernel", hardware.kernel, "-initrd", hardware.initrd),
        *("-append", " ".join([append, *hardware.kernel_parameters])),
        *("-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=agent,fd={agent}", "-device", "virtio-serial-pci"),
        *("-device", port),
        *("-chardev", f"socket,id=share,fd={share}"),
        *("-device", f"vhost-user-fs-pci,chardev=share,tag={TAG}"),
        *("-sandbox", SANDBOX, "-runas", f"{NOBODY}:{NOBODY}"),
        *hardware.parameters,
    ]
