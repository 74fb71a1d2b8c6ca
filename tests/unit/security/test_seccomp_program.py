"""Before the clone: flags, what is missing, and the cache of compiled filters."""

from __future__ import annotations

import os
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import UnsupportedError
from ocirun.kernel import libseccomp, seccomp
from ocirun.security.seccomp import program
from ocirun.security.seccomp.agent import process_state
from ocirun.security.seccomp.cache import MAX_FILES, NAME, Cache
from ocirun.security.seccomp.newer import refuse_newer
from ocirun.security.seccomp.program import asks_an_agent, prepare_filter

SPEC_ALLOW, NEW_LISTENER, KILLABLE = 1 << 2, 1 << 3, 1 << 5
NOTIFYING = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
PROGRAM = bytes(range(16))

try:
    libseccomp.Library()
except FileNotFoundError:
    pytest.skip("no libseccomp (apt-get install libseccomp2)", allow_module_level=True)


def profile(**keys: Any) -> Any:  # noqa: ANN401
    return {"defaultAction": "SCMP_ACT_ALLOW", **keys}


def flags(tmp_path: Path, **keys: Any) -> int:  # noqa: ANN401
    return int(prepare_filter(profile(**keys), str(tmp_path))["flags"])


class TestFlags:
    """docs/runc-compat/seccomp.md#filters: absent is the default, empty is none."""

    def test_absent_means_spec_allow(self, tmp_path: Path) -> None:
        assert flags(tmp_path) == SPEC_ALLOW

    def test_empty_means_none(self, tmp_path: Path) -> None:
        assert flags(tmp_path, flags=[]) == 0

    def test_tsync_is_taken_and_means_nothing(self, tmp_path: Path) -> None:
        words = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]
        assert flags(tmp_path, flags=words) == 1 << 1

    def test_a_notifying_rule_asks_for_a_listener(self, tmp_path: Path) -> None:
        assert not asks_an_agent(profile(listenerPath="/x"))
        assert flags(tmp_path, syscalls=[NOTIFYING], flags=[]) == NEW_LISTENER

    def test_waiting_killably_is_about_agents(self, tmp_path: Path) -> None:
        words = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
        assert flags(tmp_path, flags=words) == 0

    def test_waiting_killably_needs_a_kernel_that_can(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
        monkeypatch.setattr(program, "knows_flags", lambda _: True)
        assert flags(tmp_path, flags=words, syscalls=[NOTIFYING]) == NEW_LISTENER | KILLABLE
        monkeypatch.setattr(program, "knows_flags", lambda _: False)
        with pytest.raises(UnsupportedError) as caught:
            flags(tmp_path, flags=words, syscalls=[NOTIFYING])
        assert caught.value.problems[0].pointer == "/linux/seccomp/flags"

    def test_the_kernel_is_asked_without_loading_anything(self) -> None:
        assert seccomp.knows_flags(SPEC_ALLOW)
        assert not seccomp.knows_flags(1 << 30)
        status = Path("/proc/self/status").read_text()
        assert "Seccomp_filters:\t0" in status or "Seccomp:\t0" in status


def test_a_missing_library_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libseccomp, "NAME", "libseccomp-not-there.so.2")
    with pytest.raises(
        UnsupportedError, match=r"libseccomp-not-there\.so\.2.*libseccomp2"
    ) as caught:
        prepare_filter(profile(), str(tmp_path))
    assert caught.value.problems[0].pointer == "/linux/seccomp"


class TestCache:
    """A filter that somebody else could have written is not taken."""

    def cache(self, root: Path, **keys: Any) -> Cache:  # noqa: ANN401
        return Cache(str(root), profile(**keys), "2.5.4 6")

    def test_what_is_kept_is_found_again(self, tmp_path: Path) -> None:
        assert self.cache(tmp_path).load() is None
        self.cache(tmp_path).store(PROGRAM)
        assert self.cache(tmp_path).load() == PROGRAM
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o700
        assert len(list((tmp_path / NAME).iterdir())) == 1

    def test_a_full_disk_leaves_no_half_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(fd: int, data: bytes) -> int:
            raise OSError(ENOSPC, os.strerror(ENOSPC), fd, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            self.cache(tmp_path).store(PROGRAM)
        assert list((tmp_path / NAME).iterdir()) == []

    def test_it_is_found_by_all_that_decides_it(self, tmp_path: Path) -> None:
        self.cache(tmp_path).store(PROGRAM)
        assert self.cache(tmp_path, flags=[], listenerPath="/x").load() == PROGRAM
        assert self.cache(tmp_path, architectures=["SCMP_ARCH_X86"]).load() is None
        assert Cache(str(tmp_path), profile(), "2.6.0 7").load() is None

    def test_a_folder_that_others_may_write_is_left_alone(self, tmp_path: Path) -> None:
        self.cache(tmp_path).store(PROGRAM)
        (tmp_path / NAME).chmod(0o770)
        assert self.cache(tmp_path).load() is None
        self.cache(tmp_path, syscalls=[]).store(PROGRAM)
        assert len(list((tmp_path / NAME).iterdir())) == 1

    def test_a_file_that_others_may_write_is_left_alone(self, tmp_path: Path) -> None:
        self.cache(tmp_path).store(PROGRAM)
        next((tmp_path / NAME).iterdir()).chmod(0o622)
        assert self.cache(tmp_path).load() is None

    def test_somebody_elses_file_is_left_alone(self, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("not root")
        self.cache(tmp_path).store(PROGRAM)
        os.chown(next((tmp_path / NAME).iterdir()), 1000, 1000)
        assert self.cache(tmp_path).load() is None

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        self.cache(tmp_path / "real").store(PROGRAM)
        place = next((tmp_path / "real" / NAME).iterdir())
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
        assert self.cache(tmp_path / "real").load() is None
        (tmp_path / NAME).symlink_to(tmp_path / "real" / NAME)
        assert self.cache(tmp_path).load() is None

    @pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 8 * 4097])
    def test_what_is_no_program_is_compiled_anew(self, tmp_path: Path, content: bytes) -> None:
        self.cache(tmp_path).store(PROGRAM)
        next((tmp_path / NAME).iterdir()).write_bytes(content)
        assert self.cache(tmp_path).load() is None

    def test_a_fifo_does_not_hold_us_up(self, tmp_path: Path) -> None:
        self.cache(tmp_path).store(PROGRAM)
        place = next((tmp_path / NAME).iterdir())
        place.unlink()
        os.mkfifo(place, 0o600)
        assert self.cache(tmp_path).load() is None

    def test_it_does_not_grow_without_end(self, tmp_path: Path) -> None:
        for number in range(MAX_FILES + 3):
            self.cache(tmp_path, defaultErrnoRet=number).store(PROGRAM)
        assert len(list((tmp_path / NAME).iterdir())) <= MAX_FILES
        assert self.cache(tmp_path, defaultErrnoRet=MAX_FILES + 2).load() == PROGRAM

    def test_a_root_that_is_not_there_is_no_failure(self, tmp_path: Path) -> None:
        self.cache(tmp_path / "none").store(PROGRAM)
        assert not (tmp_path / "none").exists()

    def test_the_second_preparation_compiles_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = prepare_filter(profile(), str(tmp_path))
        monkeypatch.setattr(libseccomp.Library, "filter", None)
        assert prepare_filter(profile(), str(tmp_path)) == first


def test_without_anything_newer_nothing_stands_before_the_filter() -> None:
    assert refuse_newer({}) == b""


def test_the_agents_message_is_what_the_specification_says() -> None:
    state = {"ociVersion": "1.0.2", "id": "a", "status": "creating", "pid": 7, "bundle": "/b"}
    told = process_state(profile(listenerPath="/x", listenerMetadata="m"), state, 7)
    assert told == (
        '{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"metadata":"m","state":'
        '{"ociVersion":"1.0.2","id":"a","status":"creating","pid":7,"bundle":"/b"}}'
    )
    assert '"metadata"' not in process_state(profile(listenerPath="/x"), state, 7)
