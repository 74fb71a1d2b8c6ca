"""A system call that a filter answers itself has not happened: nobody stays root by that.

Attack: linux.seccomp lets setuid(2) and its kin "succeed" without having them run, so that the
program would have the ids, groups and capabilities of the runtime.

On runc 1.1.5 the program runs with uid 0 where setuid is faked.

SECCOMP_RET_ERRNO with an errno of 0 looks like success. Source: seccomp(2).
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

IDS = ("setuid", "setgid", "setgroups", "setresuid", "setresgid", "setreuid", "setregid")
RIGHTS = ("capset", "prctl")
STATUS = ["/bin/cat", "/proc/self/status"]
USER = {"uid": 1000, "gid": 1001, "additionalGids": [1002]}
KILL = 1 << 5
SETS = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")}


def faking(*names: str, then: int = 0) -> dict[str, Any]:
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": then}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


def check(status: str, user: dict[str, Any]) -> None:
    """`status` is the program's /proc/self/status: its own calls may be faked as well."""
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert rows["Uid"].split() == [str(user["uid"])] * 4
    assert rows["Gid"].split() == [str(user["gid"])] * 4
    assert rows["Groups"].split() == [str(gid) for gid in user.get("additionalGids", [])]
    sets = {name: int(rows[name], 16) for name in rows if name.startswith("Cap")}
    effective = 0 if user["uid"] else KILL
    assert sets == {
        "CapBnd": KILL,
        "CapEff": effective,
        "CapPrm": effective,
        "CapInh": 0,
        "CapAmb": 0,
    }


def faked(box: Box, *names: str, nnp: bool, user: dict[str, Any] = USER) -> Bundle:
    bundle = box.bundle(
        "cat", "/proc/self/status", user=user, capabilities=SETS, noNewPrivileges=nnp
    )
    bundle.linux["seccomp"] = faking(*names)
    return bundle


@peer_deviates("runc", "runs with what it had before", sometimes=True)
@peer_deviates("crun", "runs with what it had before", sometimes=True)
@pytest.mark.parametrize("nnp", [False, True], ids=["", "no_new_privs"])
@pytest.mark.parametrize("names", [IDS, *((name,) for name in (*IDS, *RIGHTS))], ids="+".join)
def test_of_the_container(box: Box, names: tuple[str, ...], *, nnp: bool) -> None:
    """The program has what config.json says, or it is not run."""
    result = box.container(faked(box, *names, nnp=nnp)).run()
    if result.status == 0:
        check(result.stdout, USER)
    else:
        assert result.stdout == ""


@peer_deviates("runc", "runs with what it had before", sometimes=True)
@peer_deviates("crun", "runs with what it had before", sometimes=True)
@pytest.mark.parametrize("nnp", [False, True], ids=["", "no_new_privs"])
@pytest.mark.parametrize("names", [IDS, RIGHTS], ids="+".join)
def test_of_a_process_of_exec(box: Box, names: tuple[str, ...], *, nnp: bool) -> None:
    bundle = box.bundle("/probe", "wait", capabilities=SETS, noNewPrivileges=nnp)
    bundle.linux["seccomp"] = faking(*names)
    container = box.container(bundle)
    if container.create().status:
        return  # refused, and so there is nothing to exec in
    container.start().ok()
    container.wait_output("ready")
    process = {
        "args": STATUS,
        "cwd": "/",
        "user": USER,
        "capabilities": SETS,
    }
    result = container.exec_process({**process, "noNewPrivileges": nnp})
    if result.status == 0:
        check(result.stdout, USER)


def test_faked_for_root_as_well(box: Box) -> None:
    """No capability of the runtime's is left in any set, whatever capset seems to have done."""
    bundle = faked(box, "capset", nnp=False, user={"uid": 0, "gid": 0})
    result = box.container(bundle).run()
    if result.status == 0:
        check(result.stdout, {"uid": 0, "gid": 0})
