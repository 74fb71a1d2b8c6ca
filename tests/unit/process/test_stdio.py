"""Which of a caller's descriptors a container may get as its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirun.errors import UsageError
from ocirun.process import stdio
from ocirun.process.given_stdio import GivenStdio
from ocirun.process.request import Request


@pytest.fixture
def stdin() -> Iterator[None]:
    """Put fd 0 back afterwards."""
    kept = os.dup(0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


def is_given(fd: int) -> bool:
    os.dup2(fd, 0)
    os.close(fd)
    return 0 in stdio.fds_to_give()


@pytest.mark.usefixtures("stdin")
class TestKinds:
    """A pipe, a socket, and what is open for writing; nothing else."""

    def test_both_ends_of_a_pipe(self) -> None:
        reading, writing = os.pipe()
        assert is_given(reading)
        assert is_given(writing)

    def test_a_socket_is_given(self) -> None:
        ours, theirs = socket.socketpair()
        assert is_given(ours.detach())
        theirs.close()

    @pytest.mark.parametrize(
        ("flags", "given"),
        [
            (os.O_RDONLY, False),
            (os.O_WRONLY, True),
            (os.O_RDWR, True),
            (os.O_WRONLY | os.O_APPEND, True),
            (os.O_PATH, False),
        ],
    )
    def test_a_file_that_is_open_for_writing(self, tmp_path: Path, flags: int, given: bool) -> None:
        path = tmp_path / "file"
        path.touch()
        assert is_given(os.open(path, flags)) is given

    @pytest.mark.parametrize(
        ("flags", "given"), [(os.O_RDONLY | os.O_NONBLOCK, False), (os.O_RDWR, True)]
    )
    def test_a_fifo_with_a_name(self, tmp_path: Path, flags: int, given: bool) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        assert is_given(os.open(path, flags)) is given

    @pytest.mark.parametrize("path", ["/", "/dev/null", "/dev/zero", "/dev/full"])
    def test_folders_and_devices_are_not_given(self, path: str) -> None:
        assert not is_given(os.open(path, os.O_RDONLY))

    def test_a_terminal_is_not_given(self) -> None:
        master, slave = os.openpty()
        assert not is_given(slave)
        os.close(master)

    def test_a_closed_one(self) -> None:
        os.close(0)
        assert 0 not in stdio.fds_to_give()


def test_the_same_file_twice(tmp_path: Path) -> None:
    one = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    same, append = os.dup(one), os.open(tmp_path / "file", os.O_WRONLY | os.O_APPEND)
    assert stdio.is_same_file(one, same)
    assert not stdio.is_same_file(one, append)
    for fd in (one, same, append):
        os.close(fd)
    assert not stdio.is_same_file(one, 0)


@pytest.mark.parametrize(
    ("terminal", "socket_path", "words"),
    [
        (True, None, "detach without setting console socket"),
        (False, "/x", "not detach or allocate"),
    ],
)
def test_what_does_not_go_together(terminal: bool, socket_path: str | None, words: str) -> None:
    config = {"process": {"terminal": terminal}}
    request = Request(config)  # type: ignore[arg-type]  # no more is looked at
    with pytest.raises(UsageError, match=words):
        stdio.open_stdio(config, request, socket_path, None)  # type: ignore[arg-type]


def test_without_a_terminal_and_a_foreground_nothing_is_opened() -> None:
    config = {"process": {}}
    request = Request(config)  # type: ignore[arg-type]
    assert stdio.open_stdio(config, request, None, None).sent() == []  # type: ignore[arg-type]
    assert (request.stdio_sent, request.given_stdio) == (False, stdio.fds_to_give())


def test_what_is_not_inherited_is_sent() -> None:
    """A process that the library's helper clones would have the helper's stdio."""
    request = Request({"process": {}})  # type: ignore[arg-type]
    opened = stdio.open_stdio({"process": {}}, request, None, None, inherits=False)  # type: ignore[arg-type]
    assert opened.sent() == [0, 1, 2]
    assert (request.stdio_sent, request.given_stdio) == (True, stdio.fds_to_give())


@pytest.mark.parametrize(
    ("terminal", "words"),
    [(True, "stdin, stdout and stderr cannot be chosen"), (False, "there is no terminal")],
)
def test_streams_of_a_program_have_to_be_those_that_the_configuration_asks_for(
    terminal: bool, words: str
) -> None:
    config = {"process": {"terminal": terminal}}
    request = Request(config)  # type: ignore[arg-type]
    streams = GivenStdio([] if not terminal else [0, 1, 2], [], [], terminal=not terminal)
    try:
        with pytest.raises(UsageError, match=words):
            stdio.open_stdio(config, request, None, streams)  # type: ignore[arg-type]
    finally:
        streams.close()


def test_a_terminals_socket_is_sent_alone_and_streams_as_three() -> None:
    assert stdio.Stdio().sent() == []
    assert stdio.Stdio([3, 4, 5]).sent() == [3, 4, 5]
    assert stdio.Stdio(console=0).sent() == [0]
