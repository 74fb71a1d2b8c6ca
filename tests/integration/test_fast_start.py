"""The image from which the launcher starts: who may use it, and when it is not used.

Whatever is wrong with it, the ordinary start follows, silently, and `--debug` tells the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import page_cache
from harness.fast_start import FastInstall, files_below, launchers
from harness.machine import REPO
from harness.needs import needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs("ours")

NO_STDIO = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
FAST = "started from a snapshot"
COLD = "started without a snapshot: "
CHANGED = COLD + "it was made for another program, C library or place, or has been changed"
ELSEWHERE = COLD + "Python or the ocirun package has changed since it was made"
FOREIGN = COLD + "its owner or mode is not as it should be"


@pytest.fixture
def install() -> Iterator[FastInstall]:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    yield FastInstall(folder / "prefix")
    shutil.rmtree(folder)


def test_the_installed_launcher_starts_fast() -> None:
    """What `make build` leaves behind."""
    fast, _ = launchers()
    done = subprocess.run(
        [fast, "--debug", "--root", "/sys", "list"], capture_output=True, text=True, check=True
    )
    assert FAST in done.stderr


class TestImage:
    """Any doubt about the image leads to the ordinary start."""

    def test_is_used_when_all_is_as_it_was(self, install: FastInstall) -> None:
        assert install.start() == FAST
        assert install.image.stat().st_mode & 0o7777 == 0o600

    def test_is_not_there(self, install: FastInstall) -> None:
        install.image.unlink()
        assert install.start() == COLD + "there is none"

    def test_is_a_link_or_a_folder(self, install: FastInstall) -> None:
        other = install.image.rename(install.image.with_name("other"))
        install.image.symlink_to(other)
        assert install.start().startswith(COLD)
        install.image.unlink()
        install.image.mkdir()
        assert install.start() == FOREIGN

    @needs("root")
    def test_is_a_pipe(self, install: FastInstall) -> None:
        install.image.unlink()
        os.mkfifo(install.image, 0o600)
        assert install.start() == FOREIGN

    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o4600])
    def test_is_open_to_others(self, install: FastInstall, mode: int) -> None:
        install.image.chmod(mode)
        assert install.start() == FOREIGN

    @needs("root")
    def test_belongs_to_somebody_else(self, install: FastInstall) -> None:
        os.chown(install.image, 1234, 0)
        assert install.start() == FOREIGN

    @needs("root")
    def test_belongs_to_the_owner_of_the_launcher(self, install: FastInstall) -> None:
        for path in (install.image, install.program):
            os.chown(path, 1234, 0)
        assert install.start() == FAST

    @needs("root")
    def test_cannot_be_read(self, install: FastInstall) -> None:
        os.chown(install.empty, 1234, 1234)  # a root of records belongs to its user
        assert install.start(user=1234, group=1234) == COLD + "Permission denied"

    @pytest.mark.parametrize("length", [0, 100, 4096, -1])
    def test_is_cut_off(self, install: FastInstall, length: int) -> None:
        os.truncate(install.image, length if length >= 0 else install.image.stat().st_size - 1)
        assert install.start() == COLD + "it is cut off"

    @pytest.mark.parametrize("place", [0, 40, 3000, 5000, -100])
    def test_has_a_byte_changed(self, install: FastInstall, place: int) -> None:
        with install.image.open("r+b") as file:
            file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0xFF]))
        assert install.start() == CHANGED

    def test_is_a_copy(self, install: FastInstall) -> None:
        """As in an image of a machine: the secret of its hashes would be shared."""
        other = install.image.rename(install.image.with_name("other"))
        shutil.copy2(other, install.image)
        assert install.start() == CHANGED

    def test_is_another_prefixs(self, install: FastInstall, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        install.prefix.rename(moved)
        install.program = moved / "bin" / "ocirun"
        install.empty = moved / "empty"
        assert install.start() == CHANGED

    def test_is_another_launchers(self, install: FastInstall) -> None:
        """A build with another id: ocirun was upgraded."""
        program = bytearray(install.program.read_bytes())
        place = program.index(b"GNU\0", program.index(b"\x14\0\0\0\x03\0\0\0GNU\0")) + 4
        program[place] ^= 0xFF
        install.program.write_bytes(program)
        assert install.start() == CHANGED

    @needs("root")
    def test_is_another_librarys(self, install: FastInstall, tmp_path: Path) -> None:
        """The C library was upgraded: here, one with another build id is bound over it."""
        done = install.call(str(install.program), program="ldd")
        library = next(line.split()[2] for line in done.stdout.splitlines() if "libc.so" in line)
        data = bytearray(Path(library).read_bytes())
        place = data.index(b"\x14\0\0\0\x03\0\0\0GNU\0") + 12
        data[place] ^= 0xFF
        (tmp_path / "libc").write_bytes(data)
        (tmp_path / "libc").chmod(0o755)
        script = f'mount --bind {tmp_path}/libc {os.path.realpath(library)} && exec "$@"'
        done = install.call(
            "-m", "sh", "-c", script, "sh", str(install.program), "--debug", "--root",
            "/sys", "list", program="unshare",
        )  # fmt: skip
        assert CHANGED in done.stderr

    @needs("root")
    @pytest.mark.parametrize("what", [rb"os\.py", rb"libpython[.\w]+"])
    def test_is_of_a_python_that_was_upgraded(
        self, install: FastInstall, tmp_path: Path, what: bytes
    ) -> None:
        """A file of the library, or the shared library, is another one: a copy is bound over it."""
        header = install.image.read_bytes()[:4096]
        found = re.search(rb"(/[ -~]+/" + what + rb")\0", header)
        assert found
        path = os.path.realpath(os.fsdecode(found[1]))
        shutil.copy2(path, tmp_path / "copy")
        script = f'mount --bind {tmp_path}/copy {path} && exec "$@"'
        words = ("--debug", "--root", "/sys", "list")
        done = install.call(
            "-m", "sh", "-c", script, "sh", str(install.program), *words, program="unshare"
        )
        assert ELSEWHERE in done.stderr

    @pytest.mark.parametrize("what", ["frozen.id", "pyvenv.cfg"])
    def test_is_of_an_older_package_or_python(self, install: FastInstall, what: str) -> None:
        if what == "pyvenv.cfg":
            (install.prefix / what).write_text("include-system-site-packages = false\n")
        else:
            path = install.packages / "ocirun" / what
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        assert install.start() == ELSEWHERE
        install.snapshot()
        assert install.start() == FAST


def test_doctor_says_why_and_what_helps(install: FastInstall) -> None:
    def finding() -> dict[str, str]:
        report = json.loads(install.call("doctor", "--format", "json").stdout)
        found: dict[str, str] = next(
            one for one in report["findings"] if one["name"] == "fast start"
        )
        return found

    assert (finding()["verdict"], finding()["found"]) == ("ok", "from a snapshot")
    install.image.unlink()
    lacking = finding()
    assert (lacking["verdict"], lacking["found"]) == ("degraded", "there is none")
    assert "ocirun snapshot" in lacking["remedy"]


class TestMaking:
    """`ocirun snapshot` exchanges a whole image for another."""

    def test_tells_the_place(self, install: FastInstall) -> None:
        done = install.call("snapshot")
        assert done.stdout == f"{install.image}\n"

    def test_several_at_once(self, install: FastInstall) -> None:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: install.call("snapshot"), range(4)))
        assert [done.returncode for done in results] == [0] * 4
        assert install.start() == FAST
        assert files_below(install.image.parent) == {"snapshot"}

    def test_killed_at_any_time(self, install: FastInstall) -> None:
        before = install.image.stat().st_mtime_ns
        for delay in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
            process = subprocess.Popen(
                [install.program, "snapshot"], stdout=subprocess.DEVNULL, start_new_session=True
            )
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert install.start() == FAST
        assert files_below(install.image.parent) == {"snapshot"}
        install.snapshot()
        assert install.image.stat().st_mtime_ns > before

    def test_has_another_secret_each_time(self, install: FastInstall) -> None:
        first = install.image.read_bytes()
        install.snapshot()
        second = install.image.read_bytes()
        assert first != second

    def test_puts_blocks_together_that_are_written_to(self, install: FastInstall) -> None:
        """The kernel copies each page that is written to: with the list there are fewer."""

        def faults() -> int:
            words = (str(install.program), "--root", str(install.empty), "list")
            counts = []
            for _ in range(5):
                pid = os.posix_spawn(words[0], words, {}, file_actions=NO_STDIO)
                _, status, usage = os.wait4(pid, 0)
                assert status == 0
                counts.append(usage.ru_minflt)
            return min(counts)

        with_list = faults()
        (install.packages / "ocirun" / "cli" / "placement.txt").write_text("# of nothing\n")
        install.snapshot()
        assert install.start() == FAST
        assert faults() - with_list > 50

    @needs("root")
    def test_comes_back_from_the_disk_in_large_folios(self, install: FastInstall) -> None:
        """As large as the kernel and this file system have them: single pages cost more faults."""
        other = install.image.with_name("other")
        shutil.copy(install.image, other)
        page_cache.drop(other)
        page_cache.read_in_large_folios(other)
        page_cache.drop(install.image)
        assert install.start() == FAST
        memory = 2 << 20  # MEMORY_OFFSET of image.h
        assert page_cache.folio_at(install.image, memory) == page_cache.folio_at(other, memory)

    def test_leaves_nothing_of_whoever_makes_it(self, install: FastInstall, tmp_path: Path) -> None:
        canary = "canary-in-a-coal-mine"
        folder = tmp_path / f"{canary}-folder"
        folder.mkdir()
        done = install.call(
            "snapshot", env=os.environ | {"CANARY": canary, canary: "x"}, cwd=folder
        )
        assert done.returncode == 0
        image = install.image.read_bytes()
        assert canary.encode() not in image
        assert canary.encode("utf-32-le") not in image
        assert str(REPO).encode() not in image

    def test_of_an_install_that_cannot(self, install: FastInstall) -> None:
        """Only the ordinary launcher is there, under its own name."""
        install.program.write_bytes(install.cold.read_bytes())
        install.cold.unlink()
        done = install.call("snapshot")
        assert done.returncode == 1
        assert "cannot start from a snapshot" in done.stderr

    def test_of_another_python_than_that_of_the_build(self, install: FastInstall) -> None:
        """The distribution has upgraded Python; the launcher still contains the old one."""
        done = install.call("--write-snapshot=1", "3.11.99 (main)")
        assert done.returncode == 1
        assert done.stdout == ""
        assert (
            "the installed Python is 3.11.99 (main), the one that ocirun was built" in done.stderr
        )

    @needs("root")
    def test_where_it_cannot_be_written(self, install: FastInstall) -> None:
        script = f'mount --bind -o ro {install.prefix} {install.prefix} && exec "$@"'
        words = ("-m", "sh", "-c", script, "sh", str(install.program), "snapshot")
        done = install.call(*words, program="unshare")
        assert done.returncode == 1
        assert "read-only file system" in done.stderr
        assert install.start() == FAST


class TestSurroundings:
    """The start from a snapshot is the same start in all the places that the ordinary one is."""

    def test_without_an_environment(self, install: FastInstall) -> None:
        assert install.start(env={}) == FAST

    def test_with_a_loader_that_is_steered(self, install: FastInstall) -> None:
        steering = {"LD_PRELOAD": "/nonexistent.so", "LD_BIND_NOW": "1", "MALLOC_ARENA_MAX": "1"}
        steering["MIMALLOC_VERBOSE"] = "1"  # would print before main
        done = install.call("--debug", "--root", "/sys", "list", env=steering)
        assert FAST in done.stderr
        assert "mimalloc" not in done.stderr
        assert done.returncode == 0

    @needs("userns")
    def test_in_a_user_namespace(self, install: FastInstall) -> None:
        """The owner of launcher and image is root inside, or nobody in both."""
        words = ("--user", "--map-root-user", str(install.program), "--debug", "--root")
        done = install.call(*words, "/sys", "list", program="unshare")
        assert FAST in done.stderr, done.stderr

    @needs("root")
    def test_for_a_user_with_an_install_of_its_own(self, install: FastInstall) -> None:
        for path in (install.prefix, *install.prefix.rglob("*")):
            os.chown(path, 1234, 1234, follow_symlinks=False)
        install.prefix.parent.chmod(0o755)
        assert install.start(user=1234, group=1234) == FAST

    def test_with_closed_streams(self, install: FastInstall, tmp_path: Path) -> None:
        log = tmp_path / "log"
        script = f"exec {install.program} --debug --log {log} --root /sys list 0<&- 1<&- 2<&-"
        done = install.call("-c", script, program="sh")
        assert done.returncode in {0, 1}  # nothing can be written to a stdout that is closed
        assert FAST in log.read_text()

    @needs("root")
    def test_where_overlays_are_refused(self, install: FastInstall, tmp_path: Path) -> None:
        """The program with the interpreter is too large for a copy: the other one is sealed."""
        layers = f"lowerdir={install.prefix}:{tmp_path}"
        overlay = f"mount -t overlay o -o {layers} {install.prefix} && "
        # Kernel: an overlay may be a layer of another one, and that is the end.
        script = overlay * 2 + f"{install.program} --debug --root /nonexistent exec nobody true"
        done = install.call("-m", "sh", "-c", script, program="unshare")
        assert COLD + "overlays are refused here" in done.stderr
        assert "does not exist" in done.stderr

    def test_under_a_small_address_space(self, install: FastInstall) -> None:
        script = f"ulimit -v 120000; exec {install.program} --debug --root /sys list"
        done = install.call("-c", script, program="sh")
        assert FAST in done.stderr, done.stderr
