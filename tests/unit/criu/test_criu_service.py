"""The conversation with CRIU, with a stand-in that speaks the recorded interface."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from harness.fake_criu import FakeCriu

from ocirun.criu.messages import DUMP, RESTORE, message, parse
from ocirun.criu.service import (
    FIRST_INHERITED_FD,
    Criu,
    WorkFolder,
    ask_version,
    require_features,
)
from ocirun.errors import SetupError


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCriu:
    fake = FakeCriu(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(fake.folder))
    return fake


def dump(work: WorkFolder | None = None, **opts: object) -> object:
    with Criu(work) as criu:
        return criu.converse(DUMP, opts=opts)


def test_what_is_sent_is_what_is_received() -> None:
    opts = {"images_dir_fd": 5, "root": "/r", "manage_cgroups_mode": 0, "external": ["a", "b"]}
    mounts = [{"key": "/data", "val": "/srv/\udcff"}]
    sent = message("Request", type=DUMP, opts={**opts, "ext_mnt": mounts})
    got = parse("Request", sent.SerializeToString()).opts
    assert (got.images_dir_fd, got.root, list(got.external)) == (5, b"/r", [b"a", b"b"])
    assert got.HasField("manage_cgroups_mode")
    assert not got.HasField("network_lock")
    assert got.ext_mnt[0].val == b"/srv/\xff"


def test_the_numbers_are_those_of_the_installed_criu() -> None:
    """pycriu, where Debian has installed it, was generated from CRIU's own description."""
    file = Path("/usr/include/criu/rpc.proto")
    if not file.exists():
        pytest.skip("no tool criu: its header files are not here")
    from ocirun.criu.messages import _FIELDS

    theirs: dict[str, dict[str, int]] = {}
    for line in file.read_text().splitlines():
        words = line.replace("=", " = ").replace(";", " ").split()
        if words[:1] == ["message"]:
            fields = theirs.setdefault(words[1], {})
        elif words[:1] in (["optional"], ["required"], ["repeated"]):
            fields[words[2]] = int(words[4])
    names = {
        "Request": "criu_req",
        "Response": "criu_resp",
        "Options": "criu_opts",
        "Features": "criu_features",
        "Version": "criu_version",
        "Notification": "criu_notify",
        "Restored": "criu_restore_resp",
        "PageServer": "criu_page_server_info",
        "ExternalMount": "ext_mount_map",
        "CgroupRoot": "cgroup_root",
        "InheritedFd": "inherit_fd",
        "JoinedNamespace": "join_namespace",
    }
    assert names.keys() == _FIELDS.keys()
    for name, fields in _FIELDS.items():
        assert {field: theirs[names[name]][field] for field in fields} == {
            field: number for field, (number, _) in fields.items()
        }


def test_the_version_is_asked_for(fake: FakeCriu) -> None:
    assert ask_version() == (3, 17, 1)
    assert fake.types == ["VERSION"]


def test_an_old_criu_is_refused(fake: FakeCriu) -> None:
    fake.plan(VERSION=[["done", {"version": {"major_number": 3, "minor_number": 14}}]])
    with pytest.raises(SetupError, match=r"criu 3\.14\.0 is too old: 3\.15 or newer"):
        ask_version()


def test_a_missing_criu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r'exec: "criu": executable file not found in \$PATH'):
        ask_version()


def test_criu_is_not_taken_from_where_we_stand(
    fake: FakeCriu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake.folder)
    for path in ("", ".", ":.", "../bin"):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(SetupError, match="not found"):
            ask_version()


def test_missing_features_are_refused(fake: FakeCriu) -> None:
    require_features(memory_tracking=False, lazy_pages=False)
    assert fake.types == []
    require_features(memory_tracking=True, lazy_pages=True)
    fake.plan(FEATURE_CHECK=[["done", {"features": {"mem_track": False, "lazy_pages": False}}]])
    with pytest.raises(SetupError, match="memory tracking"):
        require_features(memory_tracking=True, lazy_pages=False)
    with pytest.raises(SetupError, match="lazy pages need userfaultfd"):
        require_features(memory_tracking=False, lazy_pages=True)


def test_notifications_are_notified_in_order_and_answered(fake: FakeCriu) -> None:
    fake.plan(DUMP=[["notify", "pre-dump", 0], ["notify", "post-dump", 12], ["done", {}]])
    notified = []
    with Criu() as criu:
        criu.converse(DUMP, lambda name, pid, _: notified.append((name, pid)), opts={})
    assert notified == [("pre-dump", 0), ("post-dump", 12)]
    assert fake.answers == [("pre-dump", True), ("post-dump", True)]


def test_a_descriptor_comes_with_its_notification(fake: FakeCriu, tmp_path: Path) -> None:
    (tmp_path / "master").write_text("this one")
    fake.plan(
        RESTORE=[
            ["notify", "orphan-pts-master", 0, str(tmp_path / "master")],
            ["done", {"restore": {"pid": 77}}],
        ]
    )
    texts, numbers = [], []

    def on_notify(name: str, pid: int, fds: list[int]) -> None:
        assert (name, pid) == ("orphan-pts-master", 0)
        texts.extend(os.read(fd, 20) for fd in fds)
        assert not os.get_inheritable(fds[0])
        numbers.extend(fds)

    with Criu() as criu:
        assert criu.converse(RESTORE, on_notify, opts={}).restore.pid == 77
    assert texts == [b"this one"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[0])


def test_what_a_listener_raises_is_told_to_criu_and_raised(fake: FakeCriu) -> None:
    fake.plan(DUMP=[["notify", "one", 0], ["notify", "two", 0], ["done", {}]])

    def on_notify(name: str, *_: object) -> None:
        raise SetupError(f"no to {name}")

    with Criu() as criu, pytest.raises(SetupError, match="no to one"):
        criu.converse(DUMP, on_notify, opts={})
    assert fake.answers == [("one", False)]


def test_a_failure_is_told_with_the_errors_of_the_log(fake: FakeCriu, tmp_path: Path) -> None:
    log = "(00.1) all well\n(00.2) Error (criu/mem.c:1): first\n(00.3) \x1b[31mError second\n"
    fake.plan(DUMP=[["log", log], ["fail", 22, "because"]])
    work_fd = os.open(tmp_path, os.O_RDONLY)
    work = WorkFolder(work_fd, "/w", "dump.log")
    try:
        with pytest.raises(SetupError) as caught:
            dump(work, work_dir_fd=work_fd, log_file="dump.log")
    finally:
        os.close(work_fd)
    assert str(caught.value) == (
        "criu failed: type DUMP errno 22; invalid argument; because; "
        "Error (criu/mem.c:1): first; Error second; log file: /w/dump.log"
    )
    assert caught.value.errno == 22


def test_before_there_is_a_log_its_stderr_tells(fake: FakeCriu, tmp_path: Path) -> None:
    (tmp_path / "dump.log").symlink_to("/etc/passwd")
    fake.plan(DUMP=[["say", "Error (criu): no kernel for me"], ["fail", 0, ""]])
    work_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SetupError, match=r"errno 0; Error \(criu\): no kernel for me$"):
            dump(WorkFolder(work_fd, "/w", "dump.log"))
    finally:
        os.close(work_fd)


@pytest.mark.parametrize("before", [[], [["notify", "pre-dump", 0]]])
def test_a_killed_criu(fake: FakeCriu, before: list[list[object]]) -> None:
    fake.plan(DUMP=[*before, ["die"]])
    with pytest.raises(SetupError, match="type DUMP: it was killed by signal 9 before it answer"):
        dump()


def test_a_criu_that_only_goes_away(fake: FakeCriu) -> None:
    fake.plan(DUMP=[])
    with pytest.raises(SetupError, match="it exited with status 0 before it answered"):
        dump()


def test_answers_that_are_none(fake: FakeCriu) -> None:
    fake.plan(DUMP=[["garbage"]])
    with pytest.raises(SetupError, match="no message"):
        dump()
    fake.plan(DUMP=[["answer", RESTORE]])
    with pytest.raises(SetupError, match="criu answered RESTORE where DUMP was asked for"):
        dump()


def test_it_inherits_what_it_is_given_and_nothing_else(fake: FakeCriu, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    fds = []
    for file in files:
        file.touch()
        fds.append(os.open(file, os.O_RDONLY))
    try:
        # The places they shall have are taken, and by one another.
        with Criu(None, [fds[2], fds[0]]) as criu:
            criu.converse(DUMP, opts={})
    finally:
        for fd in fds:
            os.close(fd)
    [entry] = fake.asked
    numbers = {int(number): target for number, target in entry["fds"].items()}
    assert numbers.pop(3).startswith("socket:")
    ours = {n: t for n, t in numbers.items() if t.startswith(str(tmp_path / "bin")) is False}
    assert ours.pop(FIRST_INHERITED_FD) == str(files[2])
    assert ours.pop(FIRST_INHERITED_FD + 1) == str(files[0])
    assert not [target for target in ours.values() if target in map(str, files)]


def test_what_would_steer_it_is_kept_away(fake: FakeCriu, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRIU_CONFIG_FILE", "CRIU_LIBS_DIR", "NOTIFY_SOCKET", "KEPT"):
        monkeypatch.setenv(name, "x")
    ask_version()
    assert {"CRIU_CONFIG_FILE", "CRIU_LIBS_DIR", "NOTIFY_SOCKET"}.isdisjoint(fake.asked[0]["env"])
    assert "KEPT" in fake.asked[0]["env"]


def test_no_new_privs_are_for_criu_alone(fake: FakeCriu) -> None:
    program = fake.program.read_text().replace(
        "request = parse",
        'print(open("/proc/self/status").read(), file=sys.stderr)\nrequest = parse',
    )
    fake.program.write_text(program)
    for wanted in (True, False):
        with Criu(None, no_new_privs=wanted) as criu:
            criu.converse(DUMP, opts={})
            told = os.pread(criu._words_fd, 1 << 14, 0).decode()
        assert f"NoNewPrivs:\t{int(wanted)}" in told
    assert "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()
    fake.program.write_bytes(b"#!/nowhere\n")
    with pytest.raises(SetupError, match=r"starting .*: no such file"):
        Criu(None, no_new_privs=True)


def test_no_descriptor_stays_open(fake: FakeCriu) -> None:
    before = os.listdir("/proc/self/fd")
    for steps in ([["done", {}]], [["die"]], [["garbage"]], [["fail", 1, ""]]):
        fake.plan(DUMP=steps)
        with contextlib.suppress(SetupError):
            dump()
    assert os.listdir("/proc/self/fd") == before
