"""linux.seccomp on the real kernel.

Source: runtime-spec config-linux.md#seccomp; docs/runc-compat/seccomp.md#when-the-filter-is-loaded,
docs/runc-compat/seccomp.md#filters.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from errno import EINVAL, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest
from harness import profiles
from harness.box import Box
from harness.filtered import IDLE, NNP, OURS, answers, filtered, profile, refuse
from harness.needs import needs
from harness.peers import peer_deviates
from harness.profiles import allow, compared

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="system calls are made by their x86_64 numbers"
)

BAD_SYSTEM_CALL = 128 + 31

# What a program of the C library needs to say a word, and init before it.
PROGRAM = """
    arch_prctl brk close execve exit exit_group fstat getpid getrandom mmap mprotect munmap
    newfstatat prctl prlimit64 read readlink readlinkat rseq rt_sigaction rt_sigprocmask
    rt_sigreturn set_robust_list set_tid_address write
"""
# What docker() allows with a number above statx.
NEWER_THAN_STATX = """
    clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 close_range
    epoll_pwait2 faccessat2 futex_time64 futex_waitv io_pgetevents io_pgetevents_time64
    io_uring_enter io_uring_register io_uring_setup landlock_add_rule landlock_create_ruleset
    landlock_restrict_self memfd_secret mq_timedreceive_time64 mq_timedsend_time64 openat2
    pidfd_open pidfd_send_signal ppoll_time64 process_mrelease pselect6_time64 recvmmsg_time64
    rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 timer_gettime64
    timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64
"""

# What becoming the user needs besides, where the filter is loaded before.
PRIVILEGED = "capget capset fchown getgid getuid setgid setgroups setuid stat faccessat faccessat2"
# What runc's init needs besides.
RUNC = """
    chdir clone epoll_ctl epoll_pwait fcntl fstatfs futex getcwd getdents64 getppid getuid gettid
    keyctl lseek nanosleep openat openat2 pipe2 sched_yield sigaltstack statfs tgkill
"""


def everything_but(*names: str) -> list[str]:
    known = [
        name
        for rule in profiles.docker()["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    ]
    return sorted(set(known) - set(names))


class TestActions:
    @NNP
    def test_errno_is_returned(self, box: Box, nnp: bool) -> None:
        assert answers(
            box,
            profile(refuse(IDLE)),
            IDLE,
            "getpid",
            nnp=nnp,
        ) == [OURS, 0]

    def test_errno_is_eperm_by_default(self, box: Box) -> None:
        assert answers(box, profile(refuse(IDLE, errno=None)), IDLE) == [EPERM]

    def test_the_default_action_has_an_errno_too(self, box: Box) -> None:
        seccomp = profile(
            allow(*everything_but(IDLE)),
            defaultAction="SCMP_ACT_ERRNO",
            defaultErrnoRet=OURS,
        )
        assert answers(box, seccomp, IDLE, "getpid") == [OURS, 0]

    @pytest.mark.parametrize("word", ["KILL", "KILL_THREAD", "KILL_PROCESS"])
    @NNP
    def test_kill_ends_the_process_with_sigsys(self, box: Box, word: str, nnp: bool) -> None:
        rule = {"names": [IDLE], "action": f"SCMP_ACT_{word}"}
        run = box.container(filtered(box, profile(rule), IDLE, nnp=nnp)).run()
        assert run.status == BAD_SYSTEM_CALL

    def test_trap_is_a_signal_that_can_be_caught(self, box: Box) -> None:
        rule = {"names": [IDLE], "action": "SCMP_ACT_TRAP"}
        run = box.container(filtered(box, profile(rule), IDLE)).run()
        assert (run.status, run.stdout) == (77, "SIGSYS\n")

    @peer_deviates("runc", "1.1 knows no flags")
    def test_log_lets_it_happen(self, box: Box) -> None:
        rule = {"names": [IDLE], "action": "SCMP_ACT_LOG"}
        seccomp = profile(rule, flags=["SECCOMP_FILTER_FLAG_LOG"])
        assert answers(box, seccomp, f"{IDLE},0") == [0]

    def test_trace_without_a_tracer_does_not_exist(self, box: Box) -> None:
        rule = {"names": [IDLE], "action": "SCMP_ACT_TRACE", "errnoRet": 7}
        assert answers(box, profile(rule), IDLE) == [ENOSYS]

    def test_a_rule_that_is_the_default_is_no_mistake(self, box: Box) -> None:
        assert answers(box, profile(allow(IDLE), refuse("getpid")), "getpid") == [OURS]

    def test_unknown_names_are_left_out(self, box: Box) -> None:
        assert answers(box, profile(refuse("no_such_call", IDLE)), IDLE) == [OURS]


class TestArguments:
    """sched_get_priority_max takes any number and has no effect."""

    CALL = "sched_get_priority_max"
    WIDE = (1 << 53) + 1

    def hits(self, box: Box, args: list[dict[str, Any]], *calls: tuple[int, ...]) -> list[bool]:
        words = [",".join([self.CALL, *map(str, values)]) for values in calls]
        return [
            errno == OURS for errno in answers(box, profile(refuse(self.CALL, args=args)), *words)
        ]

    @pytest.mark.parametrize(
        ("operator", "expected"),
        [
            ("EQ", [False, True, False]),
            ("NE", [True, False, True]),
            ("LT", [True, False, False]),
            ("LE", [True, True, False]),
            ("GT", [False, False, True]),
            ("GE", [False, True, True]),
        ],
    )
    def test_each_operator_compares_as_specified(
        self, box: Box, operator: str, expected: list[bool]
    ) -> None:
        args = [compared(0, operator, 7)]
        assert self.hits(box, args, (6,), (7,), (8,)) == expected

    def test_a_masked_value(self, box: Box) -> None:
        args = [compared(0, "MASKED_EQ", 0xF0, 0x30)]
        assert self.hits(box, args, (0x3F,), (0x30,), (0x4F,)) == [True, True, False]

    @pytest.mark.parametrize("operator", ["EQ", "GE"])
    def test_values_of_64_bits(self, box: Box, operator: str) -> None:
        """A double would take the two for one."""
        args = [compared(1, operator, self.WIDE)]
        assert self.hits(box, args, (0, self.WIDE), (0, self.WIDE - 1)) == [True, False]

    def test_different_arguments_must_all_agree(self, box: Box) -> None:
        args = [compared(0, "EQ", 1), compared(1, "EQ", 2)]
        assert self.hits(box, args, (1, 2), (1, 3), (0, 2)) == [True, False, False]

    def test_of_conditions_on_one_argument_one_is_enough(self, box: Box) -> None:
        args = [compared(0, "EQ", 1), compared(0, "EQ", 2)]
        assert self.hits(box, args, (1,), (2,), (3,)) == [True, True, False]

    def test_then_those_on_other_arguments_stand_alone_too(self, box: Box) -> None:
        args = [compared(0, "EQ", 1), compared(0, "EQ", 2), compared(1, "EQ", 3)]
        assert self.hits(box, args, (0, 3), (1, 0), (0, 0)) == [True, True, False]


class TestNewerCalls:
    """Above those that the profile names a call does not exist."""

    @peer_deviates("crun", "has no such stub")
    def test_enosys_above_and_the_default_below(self, box: Box) -> None:
        names = everything_but(IDLE, "clone3", *NEWER_THAN_STATX.split())
        seccomp = profile(
            allow(*names),
            defaultAction="SCMP_ACT_ERRNO",
            defaultErrnoRet=OURS,
            architectures=profiles.ARCHITECTURES,
        )
        calls = (IDLE, "getpid", "clone3", "newest")
        assert answers(box, seccomp, *calls) == [OURS, 0, ENOSYS, ENOSYS]

    @peer_deviates("crun", "has no such stub")
    def test_also_where_the_default_kills(self, box: Box) -> None:
        names = everything_but(IDLE, "clone3", *NEWER_THAN_STATX.split())
        seccomp = profile(
            allow(*names), defaultAction="SCMP_ACT_KILL", architectures=profiles.ARCHITECTURES
        )
        assert answers(box, seccomp, "newest", "getpid") == [ENOSYS, 0]

    @peer_deviates("crun", "has no such stub")
    @peer_deviates("runc", "1.1 only where `architectures` lists the machine's own")
    def test_also_without_a_list_of_architectures(self, box: Box) -> None:
        seccomp = profile(
            allow(*everything_but("clone3", *NEWER_THAN_STATX.split())),
            defaultAction="SCMP_ACT_ERRNO",
            defaultErrnoRet=OURS,
        )
        assert answers(box, seccomp, "newest") == [ENOSYS]

    def test_a_permissive_profile_stays_so(self, box: Box) -> None:
        assert answers(box, profile(refuse(IDLE)), "clone3", IDLE) == [EINVAL, OURS]


class TestArchitectures:
    """int $0x80 is the gate of x86."""

    GETPID = "i386:20"

    @pytest.fixture(autouse=True)
    def has_gate(self, box: Box) -> None:
        if json.loads(box.output(box.bundle("/probe", "call", "i386:20"))) != [0]:
            pytest.skip("this kernel runs no 32-bit programs")

    def test_a_listed_one_is_filtered_by_its_own_numbers(self, box: Box) -> None:
        seccomp = profile(refuse("getppid"), architectures=["SCMP_ARCH_X86"])
        assert answers(box, seccomp, self.GETPID, "i386:64", "getpid") == [0, OURS, 0]

    def test_one_that_is_not_listed_is_killed(self, box: Box) -> None:
        run = box.container(filtered(box, profile(), self.GETPID)).run()
        assert run.status == BAD_SYSTEM_CALL


class TestMoments:
    """When the filter holds."""

    @NNP
    def test_without_capabilities_and_as_a_user(self, box: Box, nnp: bool) -> None:
        nothing: dict[str, list[str]] = {
            name: [] for name in ("bounding", "effective", "permitted")
        }
        user = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
        bundle = box.bundle("/probe", user=user, capabilities=nothing, noNewPrivileges=nnp)
        bundle.linux["seccomp"] = profile(refuse(IDLE))
        report = box.report(bundle)
        assert report["seccomp"] == "2"
        assert report["no_new_privs"] is nnp
        assert report["uids"][0] == 1000

    @NNP
    def test_a_user_namespace(self, box: Box, nnp: bool) -> None:
        bundle = filtered(box, profile(refuse(IDLE)), IDLE, nnp=nnp)
        bundle.use_userns((0, 100000, 65536))
        assert json.loads(box.output(bundle)) == [OURS]

    @NNP
    @peer_deviates("crun", "loads it behind the gate when it can", sometimes=True)
    def test_a_created_container_is_filtered(self, box: Box, nnp: bool) -> None:
        container = box.created(filtered(box, profile(refuse(IDLE)), IDLE, nnp=nnp))
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert "Seccomp:\t2" in status

    @NNP
    @peer_deviates("crun", "calls startContainer hooks before it loads the filter", sometimes=True)
    def test_hooks_before_it_are_free_and_those_inside_are_not(self, box: Box, nnp: bool) -> None:
        bundle = filtered(box, profile(refuse(IDLE)), IDLE, nnp=nnp)
        probe = os.fspath(bundle.rootfs / "probe")
        seen = bundle.rootfs / "tmp"
        bundle.config["hooks"] = {
            "createContainer": [{"path": probe, "args": ["p", "record", f"{seen}/before"]}],
            "startContainer": [{"path": "/probe", "args": ["p", "record", "/tmp/inside"]}],
        }
        box.output(bundle)
        assert json.loads((seen / "before").read_text())["seccomp"] == "0"
        assert json.loads((seen / "inside").read_text())["seccomp"] == "2"

    @NNP
    def test_whoever_joins_is_filtered(self, box: Box, nnp: bool) -> None:
        bundle = box.bundle("/probe", "wait", noNewPrivileges=nnp)
        bundle.linux["seccomp"] = profile(refuse(IDLE))
        container = box.running(bundle)
        run = container.runtime.call("exec", container.id, "/probe", "call", "147", "39").ok()
        assert json.loads(run.stdout) == [OURS, 0]

    @NNP
    @peer_deviates("crun", "needs other calls", sometimes=True)
    @peer_deviates("runc", "needs other calls", sometimes=True)
    def test_a_profile_that_knows_little_more_than_the_program(self, box: Box, nnp: bool) -> None:
        """No sockets, no opening of files: it takes no more to get from init to the program."""
        names = {*PROGRAM.split(), *("" if nnp else PRIVILEGED).split()}
        if box.runtime.name != "ours":
            names |= {*RUNC.split(), *PRIVILEGED.split()}
        seccomp = profile(allow(*sorted(names)), defaultAction="SCMP_ACT_KILL_PROCESS")
        bundle = filtered(box, seccomp, "getpid", nnp=nnp)
        bundle.process["capabilities"] = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]}
        assert json.loads(box.output(bundle)) == [0]

    def test_twice_the_same_is_as_good_as_once(self, box: Box) -> None:
        """The second create finds the filter compiled."""
        for _ in range(2):
            assert answers(box, profile(refuse(IDLE)), IDLE) == [OURS]

    @needs("ours")
    def test_a_cache_that_others_could_write_is_not_used(self, box: Box) -> None:
        box.runtime.root.mkdir(exist_ok=True)
        assert answers(box, profile(refuse(IDLE)), IDLE) == [OURS]
        folder = box.runtime.root / "@seccomp"
        (kept,) = folder.iterdir()
        allow_all = (0x06).to_bytes(4, "little") + (0x7FFF0000).to_bytes(4, "little")
        kept.write_bytes(allow_all)
        assert answers(box, profile(refuse(IDLE)), f"{IDLE},0") == [0]  # it was used
        kept.chmod(0o666)
        assert answers(box, profile(refuse(IDLE)), IDLE) == [OURS]


class TestDefaultProfiles:
    """What clients send with every container."""

    CAPABILITIES = ("CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SYS_CHROOT")

    @NNP
    @pytest.mark.parametrize(
        "make", [profiles.docker, profiles.containerd, profiles.podman], ids=lambda m: m.__name__
    )
    @peer_deviates("crun", "has no ENOSYS for newer calls", sometimes=True)
    def test_it_runs_and_holds(
        self, box: Box, make: Callable[..., dict[str, Any]], nnp: bool
    ) -> None:
        seccomp = make() if make is profiles.podman else make(*self.CAPABILITIES)
        calls = ("unshare,0x80000000", "getpid", "personality,0x40000", "personality,0xffffffff")
        bundle = filtered(box, seccomp, *calls, "newest", nnp=nnp)
        bundle.process["capabilities"] = {
            name: list(self.CAPABILITIES) for name in ("bounding", "effective", "permitted")
        }
        bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
        bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
        bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
        found = json.loads(box.output(bundle))
        unshared = EINVAL if make is profiles.podman else EPERM
        default = 38 if make is profiles.podman else EPERM
        assert found == [unshared, 0, default, 0, ENOSYS]

    def test_podmans_own_file_where_podman_is(self, box: Box) -> None:
        place = Path("/usr/share/containers/seccomp.json")
        if not place.exists():
            pytest.skip("no podman here: no /usr/share/containers/seccomp.json")
        whole = json.loads(place.read_text())
        rules = [
            {key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key)}
            for rule in whole["syscalls"]
            if not rule.get("includes") and not rule.get("excludes")
        ]
        errno = whole.get("defaultErrnoRet", 1)
        seccomp = profile(
            *rules, allow("arch_prctl", "chroot"), defaultAction=whole["defaultAction"],
            defaultErrnoRet=errno, architectures=profiles.ARCHITECTURES,
        )  # fmt: skip
        assert answers(box, seccomp, "getpid", "newest") == [0, ENOSYS]


class TestRefusals:
    @peer_deviates("runc", "ignores it")
    @pytest.mark.parametrize("place", ["rule", "default"])
    def test_an_errno_for_an_action_without_one(self, box: Box, place: str) -> None:
        """Spec: "When the action doesn't support an errno, the runtime MUST print and error"."""
        seccomp = profile({"names": [IDLE], "action": "SCMP_ACT_LOG"})
        if place == "rule":
            seccomp["syscalls"][0]["errnoRet"] = 3
        else:
            seccomp["defaultErrnoRet"] = 3
        run = box.container(filtered(box, seccomp, "getpid")).run()
        run.failed("errno")

    def test_an_unknown_word_is_refused(self, box: Box) -> None:
        for change in ({"defaultAction": "SCMP_ACT_X"}, {"architectures": ["SCMP_ARCH_X"]}):
            assert box.container(filtered(box, profile() | change, "getpid")).run().status != 0


@needs("ours")
def test_features_say_what_is_there(box: Box) -> None:
    seccomp = box.runtime.call("features").ok().json()["linux"]["seccomp"]
    assert seccomp["enabled"] is True
    assert "SCMP_ACT_NOTIFY" in seccomp["actions"]
    assert "SCMP_CMP_MASKED_EQ" in seccomp["operators"]
    assert "SCMP_ARCH_X86_64" in seccomp["archs"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
