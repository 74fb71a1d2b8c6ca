"""AppArmor for real: profiles loaded into the kernel, labels read back, files refused.

Which bytes go to which file is held by unit/security/test_labels.py; a host without AppArmor is in
test_labels.py.

Source: runtime-spec config.md#linux-process; docs/runc-compat/init.md#validation,
docs/runc-compat/security.md#invariants, docs/runc-compat/rootless.md; CVE-2019-16884.
"""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from errno import EACCES
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.machine import MARK
from harness.needs import needs
from harness.peers import peer_deviates
from harness.user import Home

pytestmark = needs("root", "apparmor", "tool apparmor_parser")

# Everything that a container does is allowed but for one file.
PROFILE = """
profile {name} flags=(attach_disconnected{mode}) {{
  file,
  capability,
  network,
  signal,
  mount,
  ptrace,
  unix,
  deny /forbidden rw,
}}
"""
CONFINED, OTHER, COMPLAINING = (f"{MARK}-{word}" for word in ("confined", "other", "complaining"))
MODES = {CONFINED: "", OTHER: "", COMPLAINING: ",complain"}
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
CURRENT = ("cat", "/proc/self/attr/apparmor/current")


@pytest.fixture(scope="module", autouse=True)
def _profiles() -> Generator[None, None, None]:
    text = "\n".join(PROFILE.format(name=name, mode=mode) for name, mode in MODES.items())
    parse("--replace", text)
    yield
    parse("--remove", text)


def parse(action: str, text: str) -> None:
    words = ["apparmor_parser", "--skip-cache", "--quiet", action]
    subprocess.run(words, input=text, text=True, check=True)


def label(pid: int) -> str:
    """What confines a process, as the host's kernel has it."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()


def enforced(profile: str) -> str:
    return f"{profile} (enforce)"


class TestCreate:
    """process.apparmorProfile."""

    def test_the_program_is_confined(self, each_way: Box) -> None:
        container = each_way.running(apparmorProfile=CONFINED)
        assert label(container.pid) == enforced(CONFINED)

    def test_it_reads_its_own_label(self, box: Box) -> None:
        assert (
            box.output(box.bundle(*CURRENT, apparmorProfile=CONFINED)) == enforced(CONFINED) + "\n"
        )

    def test_what_the_profile_forbids_is_refused(self, box: Box) -> None:
        bundle = box.bundle(apparmorProfile=CONFINED)
        for name in ("forbidden", "allowed"):
            (bundle.rootfs / name).write_text("")
        assert box.attempts(bundle, "open:/forbidden", "open:/allowed") == [EACCES, 0]

    def test_a_profile_that_only_complains(self, box: Box) -> None:
        container = box.running(apparmorProfile=COMPLAINING)
        assert label(container.pid) == f"{COMPLAINING} (complain)"

    def test_unconfined_is_a_profile_too(self, box: Box) -> None:
        assert label(box.running(apparmorProfile="unconfined").pid) == "unconfined"

    @pytest.mark.parametrize("process", [{}, {"apparmorProfile": ""}], ids=["absent", "empty"])
    def test_none_leaves_it_as_the_caller_is(self, box: Box, process: dict[str, str]) -> None:
        assert label(box.running(**process).pid) == label(1) == "unconfined"

    def test_the_created_container_is_not_confined_yet(self, box: Box) -> None:
        """Only execve changes the profile: what init still has to do needs the host's rights."""
        container = box.created(apparmorProfile=CONFINED)
        assert label(container.pid) == "unconfined"
        assert container.finished() is not None

    def test_without_new_privileges_capabilities_and_root(self, box: Box) -> None:
        """Order: with no_new_privs set first the kernel would refuse some changes."""
        nothing: dict[str, list[str]] = {name: [] for name in SETS}
        bundle = box.bundle("/probe", "wait", apparmorProfile=CONFINED, noNewPrivileges=True)
        bundle.process.update(capabilities=nothing, user={"uid": 1000, "gid": 1000})
        assert label(box.running(bundle).pid) == enforced(CONFINED)

    def test_with_a_seccomp_filter(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", apparmorProfile=CONFINED)
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
        }
        assert label(box.running(bundle).pid) == enforced(CONFINED)

    def test_in_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", apparmorProfile=CONFINED)
        bundle.use_userns((0, 100000, 65536))
        assert label(box.running(bundle).pid) == enforced(CONFINED)


class TestRefusals:
    """A container that would not be confined as it was said is none."""

    def test_a_profile_that_is_not_loaded(self, each_way: Box) -> None:
        container = each_way.container(None, apparmorProfile=f"{MARK}-nowhere")
        call = container.create()
        if call.status == 0:  # the peers find out when the program is started
            call = container.start()
        call.failed("apparmor")
        if each_way.runtime.name == "ours":
            call.failed(f"setting the apparmor profile {MARK}-nowhere", "no such file or directory")
            assert not (each_way.runtime.root / container.id).exists()

    @needs("ours")
    @pytest.mark.parametrize(
        "name",
        [f"{CONFINED}\nexec unconfined", f"{CONFINED} x", "a//&b"],
        ids=["newline", "blank", "stack"],
    )
    def test_a_name_that_is_none(self, box: Box, name: str) -> None:
        container = box.container(None, apparmorProfile=name)
        container.create().failed("apparmor")
        assert not (box.runtime.root / container.id).exists()


class TestExec:
    """Another process in the container."""

    @pytest.fixture
    def confined(self, box: Box) -> Container:
        return box.running(apparmorProfile=CONFINED)

    def test_it_inherits_the_profile(self, confined: Container) -> None:
        assert confined.exec(*CURRENT).ok().stdout == enforced(CONFINED) + "\n"

    def test_it_has_the_one_of_the_option(self, confined: Container) -> None:
        call = confined.exec(*CURRENT, flags=("--apparmor", OTHER))
        assert call.ok().stdout == enforced(OTHER) + "\n"

    def test_in_a_container_without_one(self, box: Box) -> None:
        call = box.running().exec(*CURRENT, flags=("--apparmor", OTHER))
        assert call.ok().stdout == enforced(OTHER) + "\n"

    @peer_deviates("runc", "1.1 takes what the file says, which is nothing", sometimes=True)
    def test_a_process_file_inherits_it(self, confined: Container) -> None:
        process = {"args": [*CURRENT], "cwd": "/", "env": confined.bundle.process["env"]}
        process["user"] = {"uid": 0, "gid": 0}
        assert confined.exec_process(process).ok().stdout == enforced(CONFINED) + "\n"

    def test_a_process_file_with_its_own(self, confined: Container) -> None:
        process = confined.bundle.process | {"args": [*CURRENT], "apparmorProfile": OTHER}
        assert confined.exec_process(process).ok().stdout == enforced(OTHER) + "\n"

    def test_it_is_refused_what_the_profile_forbids(self, confined: Container) -> None:
        (confined.bundle.rootfs / "forbidden").write_text("secret")
        call = confined.exec("cat", "/forbidden")
        assert call.status == 1
        assert "Permission denied" in call.stderr

    def test_a_profile_that_is_not_loaded(self, confined: Container) -> None:
        call = confined.exec("true", flags=("--apparmor", f"{MARK}-nowhere"))
        call.failed("apparmor", status=255)
        assert label(confined.pid) == enforced(CONFINED)


@needs("userns")
def test_of_an_ordinary_user(box: Box) -> None:
    """Who has no rights may confine itself."""
    home = Home(box)
    bundle = home.bundle(*CURRENT)
    bundle.process["apparmorProfile"] = CONFINED
    assert home.run(bundle).ok().stdout == enforced(CONFINED) + "\n"
