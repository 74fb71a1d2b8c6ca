"""What this session is on this machine: its mark, its folder, its place among the processes.

Everything a test makes carries `MARK` in its name (ids, folders, cgroups), so that what a test
left behind can be told from what others make on the same machine at the same time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

MARK = f"ocitest-{os.getpid()}"
REPO = Path(__file__).resolve().parents[2]
PROBE_SOURCES = REPO / "tests" / "probe"

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MS_REC_PRIVATE = 0x4000 | (1 << 18)

_libc = ctypes.CDLL(None, use_errno=True)


def libc_call(name: str, *arguments: object) -> int:
    """Call a libc function that reports through errno; raises OSError when it fails."""
    result: int = getattr(_libc, name)(*arguments)
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}{arguments}: {os.strerror(errno)}")
    return result


def become_subreaper() -> None:
    """Make every orphan below this process its child: a lost process is then easy to find."""
    libc_call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_unified_tree() -> None:
    """Go where crun works: a mount namespace of our own without the bare v2 tree."""
    unified = Path("/sys/fs/cgroup/unified")
    if not unified.is_dir():
        return
    libc_call("unshare", CLONE_NEWNS)
    libc_call("mount", None, b"/", None, MS_REC_PRIVATE, None)
    libc_call("umount2", bytes(unified), MNT_DETACH)


def enter_private_network() -> None:
    """Go into a network namespace of our own: bridges and firewall rules there are no one's."""
    libc_call("unshare", CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def choose_temporary_folder() -> None:
    """Let `tempfile` and pytest use /var/tmp where /tmp is mounted with nodev or nosuid.

    Debian 13 does that (systemd's tmp.mount). The root of a container that lies there inherits
    the flags: no device of it can be opened, which is not what the tests are about.
    """
    flags = os.statvfs(tempfile.gettempdir()).f_flag
    if flags & (os.ST_NODEV | os.ST_NOSUID):
        tempfile.tempdir = "/var/tmp"


def make_session_folder() -> Path:
    """Make the folder of this session.

    It can be entered by any user: the root of a user namespace must reach its rootfs.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{MARK}-"))
    folder.chmod(0o755)
    return folder


def compile_text(source: str, program: Path) -> None:
    """Compile a program of one C file; raises CalledProcessError with gcc's words."""
    words = ("gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-x", "c", "-o", program, "-")
    subprocess.run(words, input=source.encode(), check=True)


def compile_probe(folder: Path) -> Path:
    """Compile the probe into `folder`; raises CalledProcessError with gcc's words.

    Where $OCIRUN_PROBE names one that was compiled elsewhere, as in the lab, that is taken.
    """
    program = folder / "probe"
    if compiled := os.environ.get("OCIRUN_PROBE"):
        return Path(shutil.copy(compiled, program))
    sources = sorted(str(path) for path in PROBE_SOURCES.glob("*.c"))
    subprocess.run(
        ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, *sources],
        check=True,
    )
    program.chmod(0o755)
    return program


def find_busybox() -> Path:
    """Find a statically linked busybox; raises FileNotFoundError that says which package."""
    for folder in ("/bin", "/usr/bin", "/usr/local/bin"):
        candidate = Path(folder) / "busybox"
        if candidate.exists() and is_static(candidate):
            return candidate
    raise FileNotFoundError("no static busybox: apt-get install busybox-static")


def is_static(program: Path) -> bool:
    """Return whether a 64-bit ELF program names no interpreter (PT_INTERP, elf(5))."""
    data = program.read_bytes()
    table = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, table + i * size)[0] for i in range(count)]
    return data.startswith(b"\x7fELF\x02") and 3 not in kinds


def cgroup_hierarchies() -> dict[str, Path]:
    """Map each mounted cgroup hierarchy ("" for v2, else its controllers) to its mount point."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found[""] = Path(before.split()[4])
        elif kind == "cgroup":
            place = Path(before.split()[4])
            words = set(options.split(",")) - {"rw", "ro", "xattr", "clone_children", "noprefix"}
            found.update(dict.fromkeys(words, place))
    return found


def own_cgroup(controller: str) -> str:
    """Return this process's path in a hierarchy, as /proc/self/cgroup has it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def kernel_version() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


def capability_bounding() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def has_user_namespaces() -> bool:
    limit = Path("/proc/sys/user/max_user_namespaces")
    return limit.exists() and int(limit.read_text()) > 0


def has_apparmor() -> bool:
    """Return whether the kernel confines by profiles, and not only could."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text() == "Y\n"


def has_delegated_cgroup() -> bool:
    """Return whether we are not root, but may write to our own cgroup, of version 2."""
    top = cgroup_hierarchies().get("")
    if os.geteuid() == 0 or top is None:
        return False
    return os.access(top / own_cgroup("").lstrip("/") / "cgroup.subtree_control", os.W_OK)


def has_tool(name: str) -> bool:
    return shutil.which(name) is not None


def has_machines() -> bool:
    """Return whether the vm engine has QEMU, virtiofsd, and what make vm makes."""
    made = any(REPO.glob(".venv/lib/python3*/site-packages/ocirun/vm/initrd"))
    daemons = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
    has_daemon = any(os.access(path, os.X_OK) for path in daemons)
    return made and has_daemon and has_tool("qemu-system-x86_64")


@functools.cache
def lack_of_criu() -> str | None:
    """Return why containers cannot be saved on this machine, None when they can."""
    if not has_tool("criu"):
        return "no tool criu"
    check = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    if check.returncode == 0:
        return None
    return f"criu does not work here: {(check.stdout + check.stderr).strip().splitlines()[0]}"


def lack_of_criu_feature(name: str) -> str | None:
    """Return that this kernel lacks what criu-check(8) calls `name`, None if it has it."""
    check = subprocess.run(["criu", "check", "--feature", name], capture_output=True, check=False)
    return None if check.returncode == 0 else f"this kernel has no {name}, which criu needs"


def has_systemd() -> bool:
    """Return whether systemd is this machine's init, as sd_booted(3) does."""
    return Path("/run/systemd/system").is_dir()


def managed_user() -> int | None:
    """Find an ordinary user whose own systemd manager runs; gives the uid."""
    for bus in sorted(Path("/run/user").glob("[1-9]*/bus")):
        return int(bus.parent.name)
    return None
