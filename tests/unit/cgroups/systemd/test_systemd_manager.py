"""Talking to systemd: with a real D-Bus peer, in the test, on a unix socket."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness.dbus_peer import SYSTEMD, Peer, refuse

from ocirun.cgroups.systemd import bus, manager
from ocirun.cgroups.systemd.manager import connect
from ocirun.cgroups.systemd.names import UnitNames
from ocirun.cgroups.systemd.scope import unit_cgroup
from ocirun.cgroups.systemd.unit import Unit
from ocirun.errors import SetupError, UnsupportedError

READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
NAMES = UnitNames("system.slice", "x-a.scope")


class NoProcess:
    """In the place of the holder: unit tests make no process."""

    pid = 4711

    def end(self) -> None:
        self.pid = 0


@pytest.fixture
def unit(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Unit:
    monkeypatch.setattr("ocirun.kernel.holder.Holder", NoProcess)
    assert peer.calls == []
    return Unit.new(NAMES, "a", {}, connect())


class TestConnecting:
    """Which manager is called, and the message when it does not answer."""

    def test_the_socket_says_who_we_are_a_real_peer_hears_no_number(self, peer: Peer) -> None:
        connect().close()
        assert peer.greeting.startswith(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        assert [name for name, _ in peer.calls] == ["Hello"]

    def test_a_host_without_systemd_is_refused(
        self,
        peer: Peer,  # noqa: ARG002  # it must not be called
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(manager, "BOOTED", "/nowhere")
        with pytest.raises(UnsupportedError, match="systemd is not the init system of this host"):
            connect()

    def test_a_bus_that_does_not_answer_is_named(
        self,
        peer: Peer,  # noqa: ARG002  # it must not be called
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
        words = "connecting to the D-Bus at unix:path=/nowhere/bus: no such file or directory"
        with pytest.raises(SetupError, match=words):
            connect()

    @pytest.mark.parametrize("address", ["", "unix", "tcp:host=h,port=1", "unix:x=y", "unix:path"])
    def test_an_address_that_is_none(
        self,
        peer: Peer,  # noqa: ARG002
        monkeypatch: pytest.MonkeyPatch,
        address: str,
    ) -> None:
        monkeypatch.setattr(bus, "SYSTEM_BUS", "nonsense")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        with pytest.raises(SetupError, match="no address of a unix socket"):
            connect()

    @pytest.mark.parametrize("login", [b"REJECTED EXTERNAL\r\n", b"DATA\r\nERROR\r\n"])
    def test_turned_away_by_a_real_peer(self, peer: Peer, login: bytes) -> None:
        peer.login = login
        with pytest.raises(SetupError, match="login refused"):
            connect()

    def test_a_login_without_end_of_a_real_peer(self, peer: Peer) -> None:
        peer.login = b"x" * 10000
        with pytest.raises(SetupError, match="has no end"):
            connect()

    def test_root_without_a_bus_talks_to_systemd_itself(
        self,
        peer: Peer,  # it must not be called
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
        monkeypatch.setattr(bus, "PRIVATE_SOCKET", peer.address.removeprefix("unix:path="))
        with connect() as found:
            found.stop("x.scope")
        assert [name for name, _ in peer.calls] == ["Subscribe", "StopUnit"]

    def test_a_user_without_an_address(
        self,
        peer: Peer,  # noqa: ARG002
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(manager.os, "geteuid", lambda: 1000)
        for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(SetupError, match="neither DBUS_SESSION_BUS_ADDRESS nor"):
            connect()

    @pytest.mark.parametrize(("owner", "is_user"), [(1000, True), (0, False)])
    def test_root_of_a_user_namespace_asks_a_real_peer_whose_systemd_it_is(
        self, peer: Peer, monkeypatch: pytest.MonkeyPatch, owner: int, is_user: bool
    ) -> None:
        monkeypatch.setattr("ocirun.kernel.procstat.is_in_user_namespace", lambda: True)
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", peer.address)
        peer.answers["GetConnectionUnixUser"] = ("u", (owner,))
        with connect() as found:
            assert found.is_user == is_user


class TestJobs:
    """Starting and stopping."""

    def test_a_start_waits_for_its_own_job_of_a_real_peer(self, unit: Unit, peer: Peer) -> None:
        peer.noise = 3
        unit.start({}, unified=True)
        name, mode, properties, aux = peer.called("StartTransientUnit")[0]
        assert (name, mode, aux) == ("x-a.scope", "fail", [])
        assert dict(properties) == {
            "Description": ("s", "ocirun container a"),
            "Slice": ("s", "system.slice"),
            "Delegate": ("b", True),
            "PIDs": ("au", [4711]),
            "MemoryAccounting": ("b", True),
            "CPUAccounting": ("b", True),
            "IOAccounting": ("b", True),
            "TasksAccounting": ("b", True),
            "DefaultDependencies": ("b", False),
        }
        assert unit.holder_pid == 4711
        unit.release()
        assert unit.holder_pid == 0

    def test_a_slice_gets_no_process(self, peer: Peer) -> None:
        names = UnitNames("a.slice", "a-b.slice")
        Unit.new(names, "a", {}, connect()).start({}, unified=False)
        properties = dict(peer.called("StartTransientUnit")[0][2])
        assert properties["Wants"] == ("as", ["a.slice"])
        assert not {"PIDs", "Slice", "Delegate", "IOAccounting"} & set(properties)
        assert "BlockIOAccounting" in properties

    @pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency"])
    def test_a_job_that_fails_at_a_real_peer(self, unit: Unit, peer: Peer, result: str) -> None:
        peer.job_result = result
        words = f"starting systemd unit x-a.scope: the job ended with '{result}'"
        with pytest.raises(SetupError, match=words):
            unit.start({}, unified=True)
        assert unit.holder_pid == 0

    def test_a_real_peer_that_never_ends_the_job(
        self, unit: Unit, peer: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(manager, "LIMIT_S", 0.2)
        peer.job_result = None
        started = time.monotonic()
        with pytest.raises(SetupError, match=r"starting systemd unit x-a.scope: no answer within"):
            unit.start({}, unified=True)
        assert time.monotonic() - started < 5

    def test_a_peer_that_talks_of_other_jobs_for_ever(
        self, unit: Unit, peer: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(manager, "LIMIT_S", 0.5)
        peer.job_result = None
        peer.noise_after = 20
        started = time.monotonic()
        with pytest.raises(SetupError, match=r"starting systemd unit x-a.scope: no answer within"):
            unit.start({}, unified=True)
        assert time.monotonic() - started < 10

    def test_a_unit_left_failed_is_reset_once(self, unit: Unit, peer: Peer) -> None:
        answers = [refuse(f"{SYSTEMD}.UnitExists", "Unit x-a.scope already exists.")]
        peer.answers["StartTransientUnit"] = lambda *_: answers.pop()() if answers else ("", ())
        unit.start({}, unified=True)
        assert peer.called("ResetFailedUnit") == [("x-a.scope",)]
        assert len(peer.called("StartTransientUnit")) == 2

    def test_a_unit_that_runs_is_refused(self, unit: Unit, peer: Peer) -> None:
        peer.answers["StartTransientUnit"] = refuse(f"{SYSTEMD}.UnitExists", "already exists")
        with pytest.raises(SetupError, match=r"starting systemd unit x-a.scope: already exists"):
            unit.start({}, unified=True)
        assert len(peer.called("StartTransientUnit")) == 2

    def test_undoing_a_refused_start_does_not_stop_somebody_elses_unit(
        self, unit: Unit, peer: Peer
    ) -> None:
        peer.answers["StartTransientUnit"] = refuse(f"{SYSTEMD}.UnitExists", "already exists")
        cgroup = unit_cgroup({"": "/nowhere"}, unit)
        with pytest.raises(SetupError, match="already exists"):
            cgroup.prepare({})
        assert peer.called("StopUnit") == []

    def test_undoing_a_start_that_failed_stops_the_unit(self, unit: Unit, peer: Peer) -> None:
        peer.job_result = "failed"
        with pytest.raises(SetupError, match="the job ended with"):
            unit_cgroup({"": "/nowhere"}, unit).prepare({})
        assert peer.called("StopUnit") == [("x-a.scope", "replace")]

    @pytest.mark.parametrize("method", ["StopUnit", "ResetFailedUnit"])
    def test_a_unit_that_is_gone_is_stopped(self, peer: Peer, method: str) -> None:
        peer.answers[method] = refuse(f"{SYSTEMD}.NoSuchUnit", "Unit x.scope not loaded.")
        Unit("x.scope").stop()

    def test_a_stop_that_is_refused(self, peer: Peer) -> None:
        peer.answers["StopUnit"] = refuse(f"{SYSTEMD}.UnitMasked", "is masked")
        with pytest.raises(SetupError, match=r"stopping systemd unit x.scope: is masked"):
            Unit("x.scope").stop()

    def test_the_other_side_hangs_up(self, unit: Unit, peer: Peer) -> None:
        def die(*_: object) -> None:
            raise OSError

        peer.answers["StartTransientUnit"] = die
        words = r"starting systemd unit x-a.scope: .*(closed by the other side|reset by peer)"
        with pytest.raises(SetupError, match=words):
            unit.start({}, unified=True)


class TestProperties:
    """Those that this systemd does not know."""

    def test_ours_are_left_out(self, unit: Unit, peer: Peer) -> None:
        def answer(
            _name: str, _mode: str, properties: list[tuple[str, object]], _: object
        ) -> object:
            if "OOMPolicy" in dict(properties):
                return refuse(READ_ONLY, "Cannot set property OOMPolicy, or unknown property.")()
            return "", ()

        peer.answers["StartTransientUnit"] = answer
        unit.start({"unified": {"memory.oom.group": "1"}}, unified=True)
        told = [dict(body[2]).get("OOMPolicy") for body in peer.called("StartTransientUnit")]
        assert told == [("s", "kill"), None]

    def test_those_of_annotations_are_not(self, peer: Peer) -> None:
        words = "Cannot set property Strange, or unknown property."
        peer.answers["StartTransientUnit"] = refuse(READ_ONLY, words)
        unit = Unit.new(NAMES, "a", {"org.systemd.property.Strange": "true"}, connect())
        with pytest.raises(SetupError, match="asked for by the annotation") as caught:
            unit.start({}, unified=True)
        assert words in str(caught.value)
        assert len(peer.called("StartTransientUnit")) == 1

    def test_those_of_annotations_win(self, unit: Unit, peer: Peer) -> None:
        unit.close()
        named = {"org.systemd.property.CPUAccounting": "false"}
        Unit.new(NAMES, "a", named, connect()).start({}, unified=True)
        told = [
            entry
            for entry in peer.called("StartTransientUnit")[0][2]
            if entry[0] == "CPUAccounting"
        ]
        assert told == [("CPUAccounting", ("b", False))]

    def test_limits_are_set_until_the_unit_goes_and_waited_for(self, peer: Peer) -> None:
        Unit("x.scope").set([("TasksMax", ("t", 2**64 - 1)), ("AllowedCPUs", ("ay", b"\x03"))])
        name, runtime, properties = peer.called("SetUnitProperties")[0]
        assert (name, runtime) == ("x.scope", True)
        assert dict(properties) == {"TasksMax": ("t", 2**64 - 1), "AllowedCPUs": ("ay", b"\x03")}
        assert [method for method, _ in peer.calls][-2:] == ["SetUnitProperties", "Ping"]

    def test_limits_that_it_does_not_know_are_left_out(self, peer: Peer) -> None:
        def answer(_name: str, _runtime: bool, properties: list[tuple[str, object]]) -> object:
            if "AllowedCPUs" in dict(properties):
                return refuse(READ_ONLY, "Cannot set property AllowedCPUs, or unknown property.")()
            return "", ()

        peer.answers["SetUnitProperties"] = answer
        Unit("x.scope").set([("TasksMax", ("t", 1)), ("AllowedCPUs", ("ay", b"\x03"))])
        assert len(peer.called("SetUnitProperties")) == 2

    def test_a_refusal_about_something_else_does_not_loop(self, peer: Peer) -> None:
        peer.answers["SetUnitProperties"] = refuse(READ_ONLY, "Cannot set property Other, or")
        with pytest.raises(SetupError, match="setting properties of systemd unit"):
            Unit("x.scope").set([("TasksMax", ("t", 1))])

    @pytest.mark.parametrize(("version", "told"), [("251", 0), ("v252.1-3", 1), ("257~rc1", 1)])
    def test_idle_is_told_where_systemd_knows_it(self, peer: Peer, version: str, told: int) -> None:
        peer.answers["Get"] = ("v", (("s", version),))
        Unit("x.scope").set([("CPUWeight", ("t", 0))])
        assert len(peer.called("SetUnitProperties")) == told

    def test_attach_moves_a_process_into_the_unit(self, peer: Peer) -> None:
        Unit("x.scope").attach("/sub", 12)
        assert peer.called("AttachProcessesToUnit") == [("x.scope", "/sub", [12])]


def test_no_descriptor_is_left_open(peer: Peer, unit: Unit) -> None:
    unit.close()
    before = sorted(Path("/proc/self/fd").iterdir())
    other = Unit.new(NAMES, "a", {}, connect())
    other.start({}, unified=True)
    other.set([("TasksMax", ("t", 1))])
    other.stop()
    peer.login = b"REJECTED\r\n"
    with pytest.raises(SetupError):
        connect()
    left = sorted(Path("/proc/self/fd").iterdir())
    assert len(left) <= len(before) + 1  # the peer's own end of the last connection
