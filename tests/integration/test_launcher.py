"""The launcher alone: what it seals, drops, finds, and says when something is missing.

A copy of the installed launcher gets a package of its own, a stub that reports the process it runs
in: no container is needed to see how Python was started.

Source: docs/runc-compat/security.md#vulnerabilities,
docs/runc-compat/security.md#an-interpreter-as-runtime; CVE-2019-5736; ARCHITECTURE.md#the-seals.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import peers
from harness.launcher import (
    F_SEAL_ALL_OLD,
    F_SEAL_WRITE,
    STUB,
    SYS_FSOPEN,
    SYS_MEMFD_CREATE,
    Install,
    forbid,
)
from harness.machine import REPO
from harness.needs import needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

pytestmark = needs("ours")


@pytest.fixture
def launcher(pytestconfig: pytest.Config) -> Path:
    """The installed launcher under test."""
    try:
        return Path(peers.find_runtime(pytestconfig.getoption("runtime"))[1])
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=4)


@pytest.fixture
def install(tmp_path: Path, launcher: Path) -> Install:
    tmp_path.chmod(0o755)
    return Install(tmp_path / "prefix", launcher)


def without_overlay() -> None:
    forbid(SYS_FSOPEN)


def identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino]


class TestSeal:
    """A verb that creates or joins runs from a file nobody can write to."""

    @needs("root")
    def test_from_a_private_overlay(self, install: Install) -> None:
        report = install.report("run", "web")
        assert report["exe"] == "/ocirun"
        assert report["read_only"]
        assert report["write"] == errno.EROFS
        assert report["file"] != identity(install.program)

    def test_from_a_sealed_copy_where_overlays_are_refused(self, install: Install) -> None:
        report = install.report("run", "web", before=without_overlay)
        assert report["exe"] == "/memfd:ocirun (deleted)"
        assert report["seals"] & F_SEAL_ALL_OLD == F_SEAL_ALL_OLD
        assert report["write"] != 0
        assert report["file"] != identity(install.program)

    @needs("userns")
    def test_in_a_user_namespace(self, install: Install) -> None:
        report = install.report(
            "--user", "--", str(install.program), "create", "x", program="unshare"
        )
        assert report["seals"] & F_SEAL_WRITE or report["read_only"]
        assert report["file"] != identity(install.program)

    @needs("root")
    def test_of_a_program_bound_over_another(self, install: Install) -> None:
        """An overlay of the folder would show the other one."""
        other = install.program.with_name("runc")
        shutil.copy("/bin/false", other)
        script = f"mount --bind {install.program} {other}; exec {other} run x"
        report = install.report("-m", "sh", "-c", script, program="unshare")
        assert report["exe"] == "/memfd:ocirun (deleted)"
        assert report["executable"] == str(other)

    def test_never_runs_unsealed(self, install: Install) -> None:
        if SYS_MEMFD_CREATE is None:
            pytest.skip(f"no number of memfd_create for {os.uname().machine}")
        sentence = install.refusal("run", before=lambda: forbid(SYS_FSOPEN, SYS_MEMFD_CREATE))
        assert "protecting" in sentence
        assert "Operation not permitted" in sentence

    @pytest.mark.parametrize(
        "line",
        [
            "create x",
            "run x",
            "exec x",
            "init",
            "restore x",
            "frobnicate",
            "--root /r run x",
            "-root=/r run x",
            "--log state run x",
            "--log-format json --log /l --debug --systemd-cgroup create x",
            "--cgroup-manager cgroupfs --rootless auto --log-level debug exec x",
            "-- run x",
        ],
    )
    def test_of_these_command_lines(self, install: Install, line: str) -> None:
        report = install.report(*line.split())
        assert report["exe"] != str(install.program)
        assert report["argv"] == [str(install.program), *line.split()]

    @pytest.mark.parametrize(
        "line",
        [
            "state x",
            "kill x KILL",
            "delete x",
            "start run",
            "--root run state x",
            "--log=run list",
            "--version",
            "",
            "spec",
            "features",
        ],
    )
    def test_is_not_paid_for_by_the_others(self, install: Install, line: str) -> None:
        assert install.report(*line.split())["exe"] == str(install.program)

    def test_leaves_no_descriptor_behind(self, install: Install) -> None:
        # 3 is the stub's own, of /proc/self/fd.
        assert install.report("run")["fds"] == [0, 1, 2, 3]
        assert install.report("run", before=without_overlay)["fds"] == [0, 1, 2, 3]

    def test_is_not_believed_of_a_person(self, install: Install) -> None:
        assert "is not for you" in install.refusal("--sealed-from=0/ocirun", "run")

    def test_does_not_serve_set_user_id(self, install: Install) -> None:
        install.program.chmod(0o4755)
        assert "set-user-ID" in install.refusal("state")


class TestEnvironment:
    """Nothing of the caller's environment steers the interpreter or the C library."""

    def test_variables_that_steer_python_or_libc_are_dropped(
        self, install: Install, tmp_path: Path
    ) -> None:
        (tmp_path / "ocirun.py").write_text("raise SystemExit('steered')")
        steering = {
            "PYTHONPATH": str(tmp_path),
            "PYTHONHOME": "/nowhere",
            "PYTHONSTARTUP": "/x",
            "PYTHONUTF8": "0",
            "GCONV_PATH": "/x",
            "LOCPATH": "/x",
            "NLSPATH": "/x",
            "GETCONF_DIR": "/x",
            "HOSTALIASES": "/x",
            "LOCALDOMAIN": "x",
            "RES_OPTIONS": "x",
            "MALLOC_ARENA_MAX": "1",
            "MIMALLOC_VERBOSE": "1",
            "GLIBC_TUNABLES": "glibc.malloc.check=1",
            "LD_LIBRARY_PATH": "/x",
            "MUSL_LOCPATH": "/x",
        }
        meant = {
            "PATH": "/usr/bin:/bin",
            "NOTIFY_SOCKET": "/run/notify",
            "LISTEN_FDS": "1",
            "XDG_RUNTIME_DIR": "/run/user/0",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x",
            "USER": "somebody",
            "LANG": "de_DE.UTF-8",
            "PYTH": "on",
            "NLSPATHS": "kept",
        }
        for verb in ("state", "run"):
            assert install.report(verb, env=steering | meant)["environment"] == meant

    @pytest.mark.parametrize("verb", ["state", "run"])
    def test_the_loader_starts_again_without_its_variables(
        self, install: Install, tmp_path: Path, verb: str
    ) -> None:
        # libm is what every libpython needs and the launcher does not.
        (tmp_path / "libm.so.6").write_text("not a library")
        assert install.report(verb, env={"LD_LIBRARY_PATH": str(tmp_path)})["isolated"]

    def test_python_is_isolated(self, install: Install) -> None:
        report = install.report("state")
        assert report["isolated"] == 1
        assert not report["site"]
        assert not any(
            path in {"", "."} or path.startswith("/root/.local") for path in report["path"]
        )

    def test_signals_stay_as_the_caller_left_them(self, install: Install) -> None:
        # Python would ignore SIGPIPE; what else is ignored comes from who runs the tests.
        line = install.call("SigIgn", "/proc/self/status", program="grep").stdout
        assert install.report("state")["ignored"] == int(line.split()[1], 16)

    def test_arguments_are_bytes(self, install: Install) -> None:
        word = b"caf\xe9-\xff"
        report = install.call("state", os.fsdecode(word), env={})
        assert json.loads(report.stdout)["argv"][2] == os.fsdecode(word)


class TestFinding:
    """The interpreter and the package are found from where the launcher is."""

    def test_in_a_prefix(self, install: Install) -> None:
        report = install.report("state")
        assert str(install.packages) in report["path"]
        assert report["executable"] == str(install.program)

    def test_in_a_virtual_environment(self, install: Install) -> None:
        home = Path(sys._base_executable).parent  # type: ignore[attr-defined]
        (install.prefix / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = false\n"
        )
        for verb in ("state", "run"):
            report = install.report(verb)
            assert report["prefix"] == str(home.parent)  # nothing asks for the environment's
            assert report["path"][2:] == [str(install.packages)]

    @pytest.mark.parametrize(
        "folder", ["lib64/{}/site-packages", "lib/{}/dist-packages", "local/lib/{}/dist-packages"]
    )
    def test_in_the_folders_of_distributions(self, install: Install, folder: str) -> None:
        place = install.prefix / folder.format(install.python)
        place.parent.mkdir(parents=True, exist_ok=True)
        install.packages.rename(place)
        assert str(place) in install.report("run")["path"]

    def test_through_a_link(self, install: Install, tmp_path: Path) -> None:
        link = tmp_path / "runc"
        link.symlink_to(install.program)
        for verb in ("state", "run"):
            assert install.report(verb, program=link)["executable"] == str(install.program)

    def test_without_a_package(self, install: Install) -> None:
        shutil.rmtree(install.packages)
        for verb in ("state", "run"):
            sentence = install.refusal(verb)
            assert f"{install.prefix}/lib/{install.python}/site-packages" in sentence

    def test_with_a_package_that_does_not_load(self, install: Install) -> None:
        install.stub.write_text("import no_such_module")
        assert "No module named 'no_such_module'" in install.refusal("state")

    def test_with_a_main_that_fails(self, install: Install) -> None:
        install.stub.write_text("def main(): raise ValueError('told you')")
        assert "told you" in install.refusal("state")

    def test_without_the_library(self, install: Install) -> None:
        # As after the distribution's Python moved on: built for a version that is not there.
        program = install.program.read_bytes()
        soname = re.search(rb"libpython3\.\d+t?\.so[.0-9]*", program)
        assert soname
        other = re.sub(rb"3\.\d\d", b"3.98", soname[0])
        install.program.write_bytes(program.replace(soname[0], other))
        for verb in ("state", "run"):
            sentence = install.refusal(verb)
            assert other.decode() in sentence
            assert "No such file or directory" in sentence

    def test_with_a_damaged_library(self, install: Install) -> None:
        """A home whose library is not one: said, not passed over for another Python's."""
        report = install.report("state")
        soname = re.search(rb"libpython3\.\d+t?\.so[.0-9]*", install.program.read_bytes())
        assert soname
        home = install.prefix / "home"
        (home / "lib").mkdir(parents=True)
        (home / "lib" / install.python).symlink_to(report["path"][1])
        (home / "lib" / soname[0].decode()).write_text("not a library")
        (install.prefix / "pyvenv.cfg").write_text(f"home = {home}/bin\n")
        assert "file too short" in install.refusal("state")


class TestFrozenModules:
    """The launcher brings the modules of its own package along, and of no other."""

    @pytest.fixture
    def copy(self, install: Install, launcher: Path) -> Install:
        """A prefix with the whole installed package instead of the stub."""
        shutil.rmtree(install.packages)
        install.packages.mkdir()
        for entry in (launcher.parent.parent / "lib" / install.python / "site-packages").iterdir():
            if entry.name == "ocirun":
                shutil.copytree(entry, install.packages / "ocirun")
            else:
                (install.packages / entry.name).symlink_to(entry)
        return install

    def test_run_without_their_files(self, copy: Install) -> None:
        (copy.packages / "ocirun/cli/launcher.py").write_text("raise SystemExit('from the file')")
        shutil.rmtree(copy.packages / "ocirun/cli/__pycache__", ignore_errors=True)
        assert "does not exist" in copy.call("--root", "/nonexistent", "state", "x").stderr
        assert copy.call("--help").stdout  # the cold ones beside them are still found

    def test_are_left_alone_beside_another_package(self, copy: Install) -> None:
        (copy.packages / "ocirun/cli/launcher.py").write_text(STUB)
        (copy.packages / "ocirun/frozen.id").write_text("0" * 32)
        assert copy.report("state")["executable"] == str(copy.program)

    def test_are_those_of_the_installed_sources(self, copy: Install, tmp_path: Path) -> None:
        python = peers.find_runtime("ours")[1].replace("bin/ocirun", "bin/python")
        freeze = REPO / "ocirun" / "_build" / "freeze.py"
        files = [tmp_path / "frozen.c", tmp_path / "frozen.id"]
        package = copy.packages / "ocirun"
        subprocess.run([python, freeze, package, *files], check=True)
        assert files[1].read_text() == (package / "frozen.id").read_text()


def test_python_m_becomes_the_launcher(launcher: Path) -> None:
    python = launcher.parent / "python"
    if not python.exists():
        pytest.skip(f"no python beside {launcher}")
    results = [
        subprocess.run(
            [*command, "--root", "/nonexistent", "state", "nobody"],
            capture_output=True,
            check=False,
            text=True,
            cwd="/",
        )
        for command in ([launcher], [python, "-m", "ocirun"])
    ]
    assert results[0].returncode == results[1].returncode == 1
    said = [result.stderr.partition("level=")[2] for result in results]  # a time goes before
    assert said[0] == said[1] != ""
