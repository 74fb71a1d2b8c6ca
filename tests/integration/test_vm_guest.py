"""The program of the guest, outside of a machine: in namespaces of this kernel.

It is the same program on the same frames; only the root is a directory here, and its end is an exit
status. What needs a machine is in test_vm.py.
"""

from __future__ import annotations

import random
import socket
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness.bars import count
from harness.bundle import Bundle
from harness.guarded import guard_machine
from harness.guest import APART, LIMIT_S, NETWORK, ROOT, Guest, compile_guest, link, route
from harness.needs import needs

from ocirun.engines.vm import frames
from ocirun.engines.vm.config import setup_frames
from ocirun.engines.vm.program import program_payload
from ocirun.security.seccomp.program import prepare_filter

pytestmark = needs("ours", "root")

ROUNDS = count(60, 2000)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_guest(tmp_path_factory.mktemp("guest") / "init")


@pytest.fixture
def bundle(box: Any) -> Bundle:  # noqa: ANN401
    bundle: Bundle = box.bundle("sh", "-c", "cat; hostname; exit 3")
    bundle.config["hostname"] = "guest"
    return bundle


def test_a_process_gets_what_its_configuration_says(program: Path, bundle: Bundle) -> None:
    script = """cat; hostname; id; umask; ulimit -n; pwd; echo $HOME
        grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
        cat /proc/self/oom_score_adj; ionice; uname -m
        read -r numbers </proc/$$/stat; set -- $numbers; echo "nice ${19}, policy ${41}"
        ls /dev | tr '\\n' ' '; echo; cat /proc/kcore; ls /masked; touch /x || echo read-only
        echo 1 > /proc/sys/kernel/panic || echo no; echo $$; ls -l /dev/pts | wc -l; exit 3"""
    bundle.config["root"]["readonly"] = True
    (bundle.rootfs / "masked/inner").mkdir(parents=True)
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/masked", "/nowhere"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/nowhere"]
    bundle.linux["personality"] = {"domain": "LINUX32"}
    bundle.process.update(
        args=["sh", "-c", script],
        user={"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o77},
        capabilities={name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")},
        noNewPrivileges=True,
        oomScoreAdj=500,
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        scheduler={"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
        cwd="/dev",
    )
    guest = Guest(program, bundle)
    guest.set_up()
    assert guest.until(frames.HELLO, 0) == b"1"
    guest.until(frames.SEEDED, 0)  # here its clock and its random numbers stay as they are
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    guest.send(frames.INPUT, 0, b"typed\n")
    guest.send(frames.INPUT)
    assert guest.until(frames.EXIT, 0) == frames.u32(3)
    lines = guest.outputs[0].decode().splitlines()
    expected = [
        *("typed", "guest", "uid=5 gid=6 groups=7", "0077", "99", "/dev", "/"),
        "CapBnd:\t0000000000000020",
        *("NoNewPrivs:\t1", "500", "best-effort: prio 6", "i686", "nice -3, policy 3"),
    ]
    for line in expected:
        assert line in lines, lines
    assert "CapEff:\t0000000000000020" not in lines  # it is not root: only ambient ones would stay
    assert any(line.startswith("fd full null ptmx pts random stderr") for line in lines)
    for line in ("read-only", "no", "1"):
        assert line in lines, lines
    assert "inner" not in guest.outputs[0].decode()
    assert guest.end() == (0, "")


def test_processes_of_exec_join_and_end_by_signals(program: Path, bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    guest = Guest(program, bundle)
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    guest.until(frames.STARTED, 0)
    size = {"height": 33, "width": 99}
    guest.run(
        1, args=["sh", "-c", "hostname; tty; stty size; cat"], terminal=True, consoleSize=size
    )
    guest.until(frames.READY, 1)
    guest.send(frames.GO, 1)
    guest.until(frames.STARTED, 1)
    guest.send(frames.INPUT, 1, b"x\x04\x04")
    assert guest.until(frames.EXIT, 1) == frames.u32(0)
    said = guest.outputs[1].decode()
    for text in ("guest", "/dev/pts/0", "33 99"):
        assert text in said
    guest.run(2, args=["nothing-of-that-name"])
    guest.until(frames.READY, 2)
    guest.send(frames.GO, 2)
    failure = guest.until(frames.FAILED, 2)
    assert failure == b'exec: "nothing-of-that-name": executable file not found in $PATH'
    guest.run(1, args=["sleep", "1000"])  # the number is free again
    guest.until(frames.READY, 1)
    guest.send(frames.GO, 1)
    guest.until(frames.STARTED, 1)
    guest.send(frames.SIGNAL, 1, frames.u32(15))
    assert guest.until(frames.EXIT, 1) == frames.u32(143)
    guest.send(frames.SIGNAL, 0, frames.u32(9))
    assert guest.until(frames.EXIT, 0) == frames.u32(137)
    assert guest.end() == (0, "")


def profile(call: str, errno: int) -> dict[str, Any]:
    """Return a profile that answers one call with an errno."""
    rule = {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]
    return {"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": [rule]}


SANDBOXED = {"user": {"uid": 5, "gid": 6}, "cwd": "/tmp"}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_holds_for_the_program_and_for_exec(
    no_new_privileges: bool, program: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """Without no_new_privs it is loaded with a right that the program has not: CAP_SYS_ADMIN."""
    bundle.process["noNewPrivileges"] = no_new_privileges
    script = "mkdir /tmp/x; grep -E '^(Cap(Eff|Prm|Bnd)|Seccomp):' /proc/self/status; exit 3"
    bundle.process.update(
        SANDBOXED, args=["sh", "-c", script],
        capabilities={name: ["CAP_KILL"] for name in ("bounding", "permitted", "inheritable",
                                                      "effective", "ambient")},
    )  # fmt: skip
    guest = Guest(program, bundle)
    guest.seccomp = prepare_filter(profile("mkdir", 71), str(tmp_path))  # type: ignore[arg-type]
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.run(1)
    guest.until(frames.READY, 1)
    for number in (1, 0):
        guest.send(frames.GO, number)
        assert guest.until(frames.EXIT, number) == frames.u32(3)
        assert b"Protocol error" in guest.errors[number]
        expected = [f"{name}:\t0000000000000020" for name in ("CapPrm", "CapEff", "CapBnd")]
        assert guest.outputs[number].decode().splitlines() == [*expected, "Seccomp:\t2"]
    assert guest.end() == (0, "")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (("capset", 0), b"setting capabilities had no effect: a seccomp filter seems to answer"),
        (("capset", 1), b"setting capabilities: Operation not permitted"),
        (("execve", 1), b"exec /bin/sh: Operation not permitted"),
    ],
)
def test_a_filter_that_answers_the_guest_itself_is_one_sentence(
    answer: tuple[str, int], sentence: bytes, program: Path, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.process.update(SANDBOXED, args=["/bin/sh"], capabilities={}, noNewPrivileges=False)
    guest = Guest(program, bundle)
    guest.seccomp = prepare_filter(profile(*answer), str(tmp_path))  # type: ignore[arg-type]
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    assert guest.until(frames.FAILED, 0).startswith(sentence)
    guest.end()


def test_a_signal_at_the_gate_ends_the_process(program: Path, bundle: Bundle) -> None:
    guest = Guest(program, bundle)
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.send(frames.SIGNAL, 0, frames.u32(15))
    assert guest.until(frames.EXIT, 0) == frames.u32(143)
    assert guest.end()[0] == 0


def test_one_reader_who_does_not_read_holds_up_only_his_stream(
    program: Path, bundle: Bundle
) -> None:
    bundle.process["args"] = ["yes"]
    guest = Guest(program, bundle)
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    got = 0
    for kind, _, payload in guest._frames:
        got += len(payload) if kind == frames.STDOUT else 0
        if got >= frames.WINDOW:
            break
    assert got == frames.WINDOW
    guest.run(1, args=["echo", "free"])
    guest.until(frames.READY, 1)
    guest.send(frames.GO, 1)
    guest.until(frames.EXIT, 1)
    assert guest.outputs[1] == b"free\n"
    guest.end()


def test_a_policy_that_the_kernel_refuses_is_one_sentence(program: Path, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": -1}
    guest = Guest(program, bundle)
    guest.set_up()
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    sentence = b"setting the scheduling policy: Invalid argument"
    assert guest.until(frames.FAILED, 0) == sentence
    guest.end()


def test_a_setup_that_fails_says_what_and_on_what(program: Path, bundle: Bundle) -> None:
    bundle.config["linux"]["sysctl"] = {"net.no.such": "1"}
    guest = Guest(program, bundle)
    guest.set_up()
    sentence = b"writing /proc/sys/net/no/such: No such file or directory"
    assert guest.until(frames.FAILED, 0) == sentence
    guest.end()


FRAME, SETUP, PROCESS = "a frame", "the setup", "a process"


def process_with(flags: int, filter_: bytes) -> bytes:
    """Return the frame of a process with this filter."""
    process: Any = {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": []}
    payload = program_payload(process, "/", {"program": filter_.hex(), "flags": flags})
    return frames.frame(frames.PROCESS, 0, payload)


BROKEN = {
    "a type of no meaning": ("of no known type", frames.frame(b"?")),
    "a length beyond every limit": (FRAME, b"P\0\0\0\xff\xff\xff\xff"),
    "a second byte that is not zero": (FRAME, b"G\1\0\0\0\0\0\0"),
    "a setup with bytes left over": (
        SETUP,
        ROOT + frames.frame(frames.HOSTNAME, 0, frames.text("a") + b"x"),
    ),
    "a string without its NUL": (
        SETUP,
        ROOT + frames.frame(frames.HOSTNAME, 0, frames.u32(2) + b"ab"),
    ),
    "a string that is longer than its frame": (
        SETUP,
        ROOT + frames.frame(frames.MASK, 0, frames.u32(99) + b"a\0"),
    ),
    "a process that is cut short": (
        PROCESS,
        ROOT + frames.frame(frames.PROCESS, 0, frames.u32(0)),
    ),
    "a process of exec before the container": (
        PROCESS,
        ROOT + frames.frame(frames.PROCESS, 1, bytes(80)),
    ),
    "a process beyond the last": (PROCESS, ROOT + frames.frame(frames.PROCESS, 64, bytes(80))),
    "a filter with half an instruction": (PROCESS, ROOT + process_with(0, bytes(12))),
    "a filter of an unknown flag": (PROCESS, ROOT + process_with(8, bytes(8))),
    "a filter with more instructions than the kernel takes": (
        PROCESS,
        ROOT + process_with(0, bytes(8 * 4097)),
    ),
    "a seed that is cut short": ("the seed", frames.frame(frames.SEED, 0, bytes(75))),
    "a seed after the root": ("the seed", ROOT + frames.seed()),
    "a host name before the root": (SETUP, frames.frame(frames.HOSTNAME, 0, frames.text("a"))),
    "a second root": (SETUP, ROOT * 2),
    "a device before the root": (SETUP, link()),
    "a device that is cut short": (
        SETUP,
        ROOT + frames.frame(frames.LINK, 0, bytes(12)),
    ),
    "a limit that is cut short": (SETUP, ROOT + frames.frame(frames.PIDS, 0, bytes(4))),
    "a route with a word too many": (SETUP, ROOT + route(0, *"abcde")),
}


@pytest.mark.parametrize(("what", "data"), BROKEN.values(), ids=[*BROKEN])
def test_a_broken_frame_ends_the_guest(
    what: str, data: bytes, program: Path, bundle: Bundle
) -> None:
    guest = Guest(program, bundle)
    guest.until(frames.HELLO, 0)
    guest.socket.sendall(data)
    status, errors = guest.end()
    assert status == 1
    assert errors in (
        f"ocirun: {what} of the monitor is broken\n",
        f"ocirun: a frame of the monitor is {what}\n",
    )


def test_a_process_without_a_root_ends_the_guest(program: Path, bundle: Bundle) -> None:
    guest = Guest(program, bundle)
    guest.until(frames.HELLO, 0)
    guest.run(0)
    assert guest.end() == (1, "ocirun: a process of the monitor is broken\n")


def test_no_frames_crash_the_guest(program: Path, bundle: Bundle) -> None:
    """Changed and random frames: the guest answers, or ends by itself; never by a signal."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    filter_ = {"program": "06000000 0000ff7f", "flags": 4}  # one that allows every call
    process = program_payload(bundle.process, str(bundle.rootfs), filter_)  # type: ignore[arg-type]
    root, *rest = setup_frames(bundle.config)  # type: ignore[arg-type]
    good = [root, *NETWORK, *rest, frames.frame(frames.PROCESS, 0, process)]
    kinds = b"ERBMDSHNKOLFTCJPGIZWA"
    guest = Guest(program, bundle)
    share = guest.root.parent
    guest.end()
    for _ in range(ROUNDS):
        data = bytearray(b"".join(good))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.5:
            body = chance.randbytes(chance.randrange(40))
            data += frames.frame(bytes([chance.choice(kinds)]), chance.choice((0, 1, 63)), body)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = subprocess.Popen(
                [*APART, program, str(theirs.fileno()), share],
                pass_fds=[theirs.fileno()],
                preexec_fn=partial(guard_machine, share),  # noqa: PLW1509  # no threads here
                stderr=subprocess.DEVNULL,
            )
            theirs.close()
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
            assert child.wait(LIMIT_S) in (0, 1), f"seed {seed}: {bytes(data).hex()}"
