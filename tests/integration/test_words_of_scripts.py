"""What scripts that call runc write on the command line, beyond the form that is documented.

Source: runc(8), runc-kill(8), runc-exec(8); docs/runc-compat/cli.md.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time

import pytest
from harness.box import Box
from harness.peers import peer_deviates


def call(box: Box, *words: str, **keys: object) -> subprocess.CompletedProcess[bytes]:
    argv = [box.runtime.path, *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=30, check=False, **keys)  # type: ignore[call-overload,no-any-return]


class TestLogPlaces:
    """`--log` at what is no regular file."""

    @pytest.mark.parametrize("place", ["/dev/stderr", "/proc/self/fd/2"])
    def test_a_pipe_at_stderr_gets_the_line(self, box: Box, place: str) -> None:
        words = ("--log", place, "--log-format", "json", "--root", str(box.runtime.root))
        done = call(box, *words, "state", "ocitest-no", capture_output=True)
        assert done.returncode == 1
        assert b'"level":"error"' in done.stderr.replace(b" ", b"")

    def test_it_may_go_nowhere(self, box: Box) -> None:
        words = ("--log", "/dev/null", "--root", str(box.runtime.root))
        assert call(box, *words, "state", "ocitest-no").returncode == 1
        container = box.container(None, "true")
        container.bundle.save()
        argv = (*words, "run", "-b", str(container.bundle.path), container.id)
        assert call(box, *argv, capture_output=True).returncode == 0

    def test_a_fifo_with_a_reader_gets_the_line(self, box: Box) -> None:
        fifo = box.folder / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            words = ("--log", str(fifo), "--log-format", "json", "--root", str(box.runtime.root))
            assert call(box, *words, "state", "ocitest-no").returncode == 1
            assert b'"level":"error"' in os.read(reader, 4096).replace(b" ", b"")
        finally:
            os.close(reader)

    def test_a_directory_is_refused(self, box: Box) -> None:
        done = call(box, "--log", str(box.folder), "list", capture_output=True)
        assert done.returncode == 1
        assert b"is a directory" in done.stderr.lower()


class TestEmptyWords:
    """Variables that a script has not set."""

    @peer_deviates("crun", "knows text and json only")
    def test_an_empty_form_of_the_log_is_text(self, box: Box) -> None:
        root = str(box.runtime.root)
        done = call(box, "--log-format", "", "--root", root, "state", "no", capture_output=True)
        assert b"does not exist" in done.stderr

    @peer_deviates("crun", "unknown signal")
    def test_an_empty_signal_is_term(self, box: Box) -> None:
        container = box.running(None, "/probe", "trap", "TERM")
        container.kill("").ok()
        container.wait_status("stopped")


@peer_deviates("runc", "1.1 lists the folders of /", sometimes=True)
@peer_deviates("crun", "accepts it")
def test_the_root_of_the_machine_is_refused_in_any_spelling(box: Box) -> None:
    for root in ("//", "///", "//.", "/usr/..", "//usr/.."):
        done = call(box, "--root", root, "list", capture_output=True)
        assert done.returncode == 1
        assert b"Option --root argument should not be set to /" in done.stderr


def test_few_descriptors_make_no_container_disappear(box: Box) -> None:
    """Callers forget a container of which they are told that it does not exist."""
    container = box.running()
    for most in range(3, 14):
        for verb in ("state", "delete"):
            done = call(
                box,
                *("--root", str(box.runtime.root), verb, container.id),
                capture_output=True,
                preexec_fn=lambda most=most: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (most, most)
                ),
            )
            assert b"does not exist" not in done.stderr, (most, verb)
    assert container.status == "running"


class TestExec:
    """Words of exec."""

    @peer_deviates("runc", "before 1.5 looks for a program of that name", sometimes=True)
    @peer_deviates("crun", "looks for a program of that name")
    def test_dashes_between_the_id_and_the_program(self, box: Box) -> None:
        container = box.running()
        report = container.exec("--", "/probe", "--", "-x").ok().json()
        assert report["argv"] == ["/probe", "--", "-x"]  # the program's own are left alone
        container.exec("--").failed("exec args cannot be empty", status=255)

    @peer_deviates("crun", "refuses the value")
    @pytest.mark.parametrize("configured", [True, False])
    def test_no_new_privs_is_taken_away(self, box: Box, configured: bool) -> None:
        container = box.running(None, "/probe", "wait", noNewPrivileges=configured)
        for flags, expected in (
            ((), configured),
            (("--no-new-privs=false",), False),
            (("--no-new-privs",), True),
        ):
            status = container.exec("cat", "/proc/self/status", flags=flags).ok().stdout
            assert f"NoNewPrivs:\t{expected:d}" in status

    @peer_deviates("crun", "ignores it")
    def test_a_huge_number_of_descriptors_is_refused_at_once(self, box: Box) -> None:
        container = box.running()
        began = time.monotonic()
        for count in ("1000000000", "2147483647", "9000000000"):
            container.exec("true", flags=("--preserve-fds", count)).failed(status=255)
        assert time.monotonic() - began < 30
