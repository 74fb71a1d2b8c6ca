"""CVE-2019-5736: the host's programs cannot be overwritten from a container through /proc/PID/exe.

Every test runs in both modes: `overlay`, and `memory`, which is forced as it happens in practice:
by installing ocirun on overlays so deep that the kernel refuses another.

runc 1.1.5 runs from a read-only bind mount or a copy and survives the attacks as well.

Source: docs/runc-compat/security.md#vulnerabilities,
docs/runc-compat/security.md#an-interpreter-as-runtime; CVE-2019-5736; ARCHITECTURE.md#the-seals.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from harness.needs import needs
from harness.peers import peer_deviates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.box import Box
    from harness.bundle import Bundle

DATA = Path(__file__).parents[1] / "data" / "seals"

# Runs inside, as the shell that loader.c starts; descriptor 9 is the program that was started.
ATTACK = """
(: > /proc/self/fd/9) 2>/dev/null && echo truncated
(echo overwritten >> /proc/self/fd/9) 2>/dev/null && echo appended
dd if=/bin/busybox of=/proc/self/fd/9 conv=notrunc bs=64 count=1 2>/dev/null && echo written
echo tried
"""


@pytest.fixture(scope="module")
def deep_install(
    runtime_under_test: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Path, None, None]:
    """The runtime's prefix below as many read-only overlays as the kernel stacks."""
    folder = tmp_path_factory.mktemp("deep")
    prefix = Path(runtime_under_test[1]).parent.parent
    mounted: list[Path] = []
    (folder / "empty").mkdir()
    for depth in range(5):
        place = folder / f"depth{depth}"
        place.mkdir()
        below = mounted[-1] if mounted else prefix
        options = f"ro,lowerdir={below}:{folder / 'empty'}"
        done = subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", place],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            break
        mounted.append(place)
    if not mounted:
        pytest.skip(f"no overlay of the install: {done.stderr.decode().strip()}")
    yield mounted[-1]
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=True)


@pytest.fixture(params=["overlay", pytest.param("memory", marks=needs("ours"))])
def mode(request: pytest.FixtureRequest) -> str:
    """How the runtime is sealed. Asked for before `box`, which looks for new mounts."""
    if request.param == "memory":
        request.getfixturevalue("deep_install")
    return str(request.param)


@pytest.fixture
def sealed_box(mode: str, box: Box, request: pytest.FixtureRequest) -> Box:
    """A box whose runtime is sealed in this mode."""
    if mode == "memory":
        prefix = request.getfixturevalue("deep_install")
        box.runtime.path = str(prefix / "bin" / Path(box.runtime.path).name)
    return box


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def overwrite(path: str, flags: int) -> None:
    """Open `path` and write to it; raises OSError where either is refused."""
    fd = os.open(path, flags)
    try:
        os.write(fd, b"overwritten")
    finally:
        os.close(fd)


def programs_of(pid: int, launcher: str) -> dict[Path, str]:
    """Checksum every file of the host that process `pid` has mapped, and the launcher itself."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {Path(line.split(None, 5)[5]) for line in lines if len(line.split(None, 5)) == 6}
    paths = {path for path in paths if path.is_file()} | {Path(launcher)}
    return {path: checksum(path) for path in paths}


def loader_of(program: Path) -> str:
    """Read which loader a dynamic 64-bit program asks for (PT_INTERP, elf(5))."""
    data = program.read_bytes()
    table, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    for entry in range(table, table + size * count, size):
        if struct.unpack_from("<I", data, entry)[0] == 3:
            offset = struct.unpack_from("<Q", data, entry + 8)[0]
            return data[offset : data.index(b"\0", offset)].decode()
    pytest.skip(f"{program} is a static program: no loader to replace")


def compile_c(source: Path | str, target: Path, *flags: str) -> None:
    """Compile a file, or a text, of C into `target`."""
    named = isinstance(source, Path)
    subprocess.run(
        ["gcc", "-O1", *flags, "-o", target, source if named else "-xc", *([] if named else ["-"])],
        input=None if named else str(source).encode(),
        check=True,
    )


def set_trap(bundle: Bundle, loader: str) -> None:
    """Put the attacker's loader and script into the root."""
    place = bundle.rootfs / loader.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    compile_c(
        DATA / "loader.c", place, "-static", "-no-pie", "-nostdlib", "-ffreestanding",
        "-fno-stack-protector",
    )  # fmt: skip
    (bundle.rootfs / "attack").write_text(ATTACK)


def make_entry(bundle: Bundle, kind: str) -> None:
    """Make the container's program lead to the runtime's own."""
    entry = bundle.rootfs / "entry"
    bundle.process["args"] = ["/entry"]
    if kind == "script":
        entry.write_text("#!/proc/self/exe\n")
        entry.chmod(0o755)
    elif kind == "link":
        entry.symlink_to("/proc/self/exe")
    elif kind == "path":
        bundle.process["args"] = ["/proc/self/exe"]
    else:
        compile_c("int main(void) { return 0; }", entry, "-Wl,--dynamic-linker=/proc/self/exe")


ENTRIES = ["script", "link", "path", "elf"]


@peer_deviates(
    "crun", "1.8 starts from its own file where it is not asked for a copy", sometimes=True
)
@peer_deviates("runc", "1.1 runs a read-only bind mount of the host's own file", sometimes=True)
def test_init_is_never_the_hosts_own_file(sealed_box: Box, mode: str) -> None:
    launcher = Path(sealed_box.runtime.path)
    container = sealed_box.created()
    exe = Path(f"/proc/{container.pid}/exe")
    found, own = exe.stat(), launcher.stat()
    assert (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)
    if sealed_box.runtime.name == "ours":
        expected = {"overlay": "/ocirun", "memory": "/memfd:ocirun (deleted)"}
        assert os.readlink(exe) == expected[mode]


def test_the_file_of_init_cannot_be_written_even_when_it_is_gone(sealed_box: Box) -> None:
    launcher = Path(sealed_box.runtime.path)
    before = checksum(launcher)
    container = sealed_box.created()
    held = os.open(f"/proc/{container.pid}/exe", os.O_RDONLY)
    try:
        # Now the kernel could say "text file busy" of any program …
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError):  # noqa: PT011  # which errno depends on the seal
                os.close(os.open(f"/proc/{container.pid}/exe", flags))
        container.delete("--force").ok()
        # … and now it could not.
        size = os.fstat(held).st_size
        for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
            with pytest.raises(OSError):  # noqa: PT011
                overwrite(f"/proc/self/fd/{held}", flags)
        assert os.fstat(held).st_size == size
    finally:
        os.close(held)
    assert checksum(launcher) == before


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_point_that_is_the_runtime_gets_an_error(sealed_box: Box, kind: str) -> None:
    bystander = sealed_box.created()
    before = programs_of(bystander.pid, sealed_box.runtime.path)
    bundle = sealed_box.bundle()
    make_entry(bundle, kind)
    assert sealed_box.container(bundle).run().status != 0
    assert programs_of(bystander.pid, sealed_box.runtime.path) == before


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_image_cannot_overwrite_the_runtime(sealed_box: Box, kind: str) -> None:
    launcher = Path(sealed_box.runtime.path)
    loader = loader_of(launcher)
    bystander = sealed_box.created()
    before = programs_of(bystander.pid, str(launcher))
    bundle = sealed_box.bundle()
    make_entry(bundle, kind)
    set_trap(bundle, loader)
    result = sealed_box.container(bundle).run()
    if kind == "script":
        assert (result.status, result.stdout) == (0, "tried\n")
    else:
        # Our init refuses a program that is its own; as a loader (elf) the runtime cannot work.
        assert "tried" not in result.stdout or sealed_box.runtime.name != "ours"
        assert result.stdout in {"", "tried\n"}
    assert programs_of(bystander.pid, str(launcher)) == before


def test_the_attack_works_where_nothing_is_sealed(box: Box) -> None:
    """What the test above relies on: an unprotected program is overwritten by this image."""
    bundle = box.bundle("/victim")
    victim = bundle.rootfs / "victim"
    compile_c("int main(void) { return 0; }", victim)
    before = checksum(victim)
    set_trap(bundle, loader_of(victim))
    assert "appended" in box.output(bundle)
    assert checksum(victim) != before


@needs("ours")
def test_the_launcher_inside_an_image_stops(sealed_box: Box) -> None:
    """With the C library it needs, it runs inside, and will not guess where it is installed."""
    bundle = sealed_box.bundle()
    make_entry(bundle, "script")
    listing = subprocess.run(
        ["ldd", sealed_box.runtime.path], capture_output=True, check=True, text=True
    )
    for word in listing.stdout.split():
        if word.startswith("/"):
            (bundle.rootfs / word[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, bundle.rootfs / word[1:])
    sealed_box.container(bundle).run().failed("cannot tell where this program is installed")


class TestExec:
    """The same by a process of exec."""

    @needs("ours")
    @pytest.mark.parametrize("path", ["/proc/self/exe", "/proc/thread-self/exe"])
    def test_the_runtime_itself_is_no_program(self, box: Box, path: str) -> None:
        box.running().exec(path).failed("permission denied", status=255)

    def test_a_script_of_it_changes_nothing(self, box: Box) -> None:
        container = box.running()
        script = container.bundle.rootfs / "bin/evil"
        script.write_text("#!/proc/self/exe\n")
        script.chmod(0o755)
        runtime = Path(container.runtime.path)
        before = hashlib.sha256(runtime.read_bytes()).hexdigest()
        container.exec("/bin/evil", timeout=20)
        assert hashlib.sha256(runtime.read_bytes()).hexdigest() == before
