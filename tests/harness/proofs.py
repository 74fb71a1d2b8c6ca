"""Which test does in a container what a rule of the audit says, and why others have none.

tests/unit/audit/test_proofs.py holds both against the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

# Rule: the tests that prove it, by name.
PROVED: dict[str, list[str]] = {}

# Rules about what no test does, or has to do, and why.
UNPROVED = {
    "cap-block-suspend": "the kernel takes the flag (EPOLLWAKEUP) away without a word",
    "cap-mac-admin": "asked by security modules only that no machine of ours has (Smack)",
    "cap-mac-override": "asked by security modules only that no machine of ours has (Smack)",
    "cap-net-broadcast": "no kernel uses it",
    "seccomp-other-architecture": "libseccomp covers them all: test_seccomp.py has another filter",
    "seccomp-agent": "what an agent decides is proved by test_seccomp_notify.py",
    "lsm-absent": "says what is not there",
    "lsm-unconfined": "what a profile refuses is proved by test_apparmor.py in the lab",
    "unsafe-annotation": "what each of them does is proved by the chapter that is about it",
}


def proves(*rules: str) -> Callable[[Test], Test]:
    """Mark a test that does in a container what findings of these rules say."""

    def noted(test: Test) -> Test:
        for rule in rules:
            PROVED.setdefault(rule, []).append(test.__name__)
        return test

    return noted
