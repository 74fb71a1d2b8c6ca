"""CVE-2022-24769, CVE-2022-29162, crun's CVE-2022-27650: no inheritable capability that was not
asked for.

With one, a program whose file has it inheritable (capabilities(7), `file` sets) gets it although
the process has given it up.

runc 1.1.5 and crun 1.8.1 have the fixes, and pass.

Source: runtime-spec config.md#linux-process, `capabilities`; capabilities(7).
"""

from __future__ import annotations

from typing import Any

from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

NET_RAW, CHOWN, KILL = 1 << 13, 1 << 0, 1 << 5
SETS = ("bounding", "effective", "permitted")


def three(*names: str) -> dict[str, Any]:
    """The capability sets that matter to root."""
    return {name: list(names) for name in SETS}


def seen(container: Container, *flags: str) -> dict[str, Any]:
    """What the probe sees when it is run by exec with these flags."""
    report: dict[str, Any] = container.exec("/probe", flags=flags).ok().json()
    return report


class TestExec:
    """`--cap` adds, and the inheritable set stays empty."""

    def with_sets(self, box: Box, **sets: list[str]) -> Container:
        return box.running(box.bundle("/probe", "wait", capabilities=sets))

    def test_the_containers_sets(self, box: Box) -> None:
        container = self.with_sets(box, **three("CAP_KILL"))
        found = seen(container)["capabilities"]
        assert found == dict.fromkeys(SETS, KILL) | {"inheritable": 0, "ambient": 0}

    @peer_deviates("crun", "1.8 has --cap replace the sets")
    def test_cap_adds_to_the_three_sets_and_never_to_inheritable(self, box: Box) -> None:
        container = self.with_sets(box, **three("CAP_KILL"))
        found = seen(container, "-c", "CAP_NET_RAW", "-c", "CAP_CHOWN")["capabilities"]
        both = KILL | NET_RAW | CHOWN
        assert found == dict.fromkeys(SETS, both) | {"inheritable": 0, "ambient": 0}

    @peer_deviates("crun", "1.8 has --cap replace the sets")
    def test_cap_with_an_empty_inheritable_list(self, box: Box) -> None:
        container = self.with_sets(box, **three("CAP_KILL"), inheritable=[])
        found = seen(container, "--cap", "CAP_NET_RAW")["capabilities"]
        assert found["effective"] == KILL | NET_RAW
        assert (found["inheritable"], found["ambient"]) == (0, 0)

    @peer_deviates("crun", "1.8 has --cap replace the sets")
    def test_cap_for_another_user(self, box: Box) -> None:
        """An ordinary user has no ambient set, so that execve leaves it only the bounding one."""
        container = self.with_sets(box, **three("CAP_KILL"))
        found = seen(container, "--cap", "CAP_NET_RAW", "--user", "1000")["capabilities"]
        assert found["bounding"] == KILL | NET_RAW
        assert (found["inheritable"], found["ambient"], found["effective"]) == (0, 0, 0)

    def test_what_is_inheritable_in_the_container_stays_so(self, box: Box) -> None:
        sets = {name: ["CAP_KILL"] for name in (*SETS, "inheritable", "ambient")}
        found = seen(self.with_sets(box, **sets), "--user", "1000")["capabilities"]
        assert (found["inheritable"], found["ambient"], found["effective"]) == (KILL,) * 3
