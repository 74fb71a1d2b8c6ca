"""config-linux.md#seccomp: the compiled program says what the profile says.

The oracle is a plain reading of the profile (`wanted`); the program is run by harness/bpf.py.
"""

from __future__ import annotations

import json
from errno import ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest
from harness.bpf import verdict
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocirun.errors import SetupError, UnsupportedError
from ocirun.kernel.libseccomp import UNKNOWN, Library
from ocirun.security.seccomp.compile import action_number, alternatives, compile_profile
from ocirun.spec.seccomp import ACTIONS, OPERATORS, PERMISSIVE, WITH_ERRNO

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
ERRNO, ALLOW, KILL = ACTIONS["SCMP_ACT_ERRNO"], ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_KILL"]
TOP = 2**64 - 1

try:
    LIBRARY = Library()
except FileNotFoundError:
    pytest.skip("no libseccomp (apt-get install libseccomp2)", allow_module_level=True)
NATIVE = LIBRARY.native_architecture()

COMPARE = {
    "SCMP_CMP_NE": lambda a, v, _: a != v,
    "SCMP_CMP_LT": lambda a, v, _: a < v,
    "SCMP_CMP_LE": lambda a, v, _: a <= v,
    "SCMP_CMP_EQ": lambda a, v, _: a == v,
    "SCMP_CMP_GE": lambda a, v, _: a >= v,
    "SCMP_CMP_GT": lambda a, v, _: a > v,
    "SCMP_CMP_MASKED_EQ": lambda a, mask, v: a & mask == v,
}


def number(name: str) -> int:
    return LIBRARY.system_call_of(NATIVE, name)


def holds(args: list[dict[str, Any]], arguments: list[int]) -> bool:
    said = [
        COMPARE[arg["op"]](arguments[arg["index"]], arg["value"], arg.get("valueTwo", 0))
        for arg in args
    ]
    repeated = len({arg["index"] for arg in args}) < len(args)
    return any(said) if repeated else all(said)


def wanted(profile: dict[str, Any], name: str, arguments: list[int]) -> int:
    """Read the profile for one call of the native architecture.

    Only for profiles in which all rules of one call have the same action.
    """
    default = action_number(profile["defaultAction"], profile.get("defaultErrnoRet"))
    named = [number(n) for rule in profile["syscalls"] for n in rule["names"]]
    silent = profile["defaultAction"] in PERMISSIVE or default == ERRNO | ENOSYS
    if not silent and named and number(name) > max(named):
        return ERRNO | ENOSYS
    for rule in profile["syscalls"]:
        if name in rule["names"] and holds(rule.get("args", []), arguments):
            return action_number(rule["action"], rule.get("errnoRet"))
    return default


# Calls that 64-bit architectures have in common, low and high numbers among them.
NAMES = ["read", "write", "close", "openat", "clone", "personality", "getrandom", "statx", "clone3"]
EDGES = [0, 1, 2, 8, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 1 << 63, TOP]
VALUES = st.one_of(st.sampled_from(EDGES), st.integers(0, TOP))
ACTION = st.fixed_dictionaries(
    {"action": st.sampled_from(sorted(set(ACTIONS) - {"SCMP_ACT_NOTIFY"}))},
    optional={"errnoRet": st.integers(0, 4094)},
)


@st.composite
def arg(draw: st.DrawFn) -> dict[str, Any]:
    result = {
        "index": draw(st.integers(0, 5)),
        "op": draw(st.sampled_from(sorted(OPERATORS))),
        "value": draw(VALUES),
    }
    if result["op"] == "SCMP_CMP_MASKED_EQ":
        # A bit outside of the mask can never be equal; libseccomp leaves it out of the comparison.
        result["valueTwo"] = draw(VALUES) & result["value"]
    return result


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    default = draw(ACTION)
    profile: dict[str, Any] = {"defaultAction": default["action"], "syscalls": []}
    if "errnoRet" in default and default["action"] in WITH_ERRNO:
        profile["defaultErrnoRet"] = default["errnoRet"]
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6)):
        action = draw(ACTION)
        # One rule without conditions, or several with: all with the same action, so that their
        # order cannot matter.
        lists = draw(
            st.one_of(st.just([[]]), st.lists(st.lists(arg(), min_size=1, max_size=3), max_size=3))
        )
        _spare_the_library(lists)
        for args in lists:
            profile["syscalls"].append({"names": [name], **action, "args": args})
    return profile


def _spare_the_library(lists: list[list[dict[str, Any]]]) -> None:
    """Let an argument be compared by order once for each call, or for equality as often as it may.

    libseccomp 2.5.4 gets several comparisons of one argument wrong when they differ in the high
    words: "GE 1<<32" and "LE 0" together also match 0xffffffff (docs/seccomp.md).
    """
    for index in range(6):
        about = [arg for args in lists for arg in args if arg["index"] == index]
        for arg in about if len(about) > 1 else ():
            arg["op"] = "SCMP_CMP_EQ"
            arg.pop("valueTwo", None)


CLONE = {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}


@settings(max_examples=150, deadline=None)
@given(profiles(), st.lists(VALUES, min_size=6, max_size=6))
@example(
    {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [CLONE]}],
    },
    [0x20000, 0, 0, 0, 0, 0],
)
def test_the_program_says_what_the_profile_says(
    profile: dict[str, Any], arguments: list[int]
) -> None:
    program = compile_profile(profile, LIBRARY)  # type: ignore[arg-type]
    # Besides random arguments those the conditions are about: there the answers change.
    interesting = [arguments]
    for rule in profile["syscalls"]:
        for one in rule["args"]:
            for value in (one["value"] - 1, one["value"], one["value"] + 1, one.get("valueTwo", 0)):
                changed = list(arguments)
                changed[one["index"]] = value % (TOP + 1)
                interesting.append(changed)
    for name in NAMES:
        for words in interesting:
            assert verdict(program, NATIVE, number(name), words) == wanted(profile, name, words)


def compiled(*rules: dict[str, Any], **profile: Any) -> bytes:  # noqa: ANN401
    whole = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **profile}
    return compile_profile(whole, LIBRARY)  # type: ignore[arg-type]


def allow(*names: str, **rule: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **rule}


def test_kill_means_the_thread() -> None:
    assert ACTIONS["SCMP_ACT_KILL"] == ACTIONS["SCMP_ACT_KILL_THREAD"]
    program = compiled(allow("read", "openat"), defaultAction="SCMP_ACT_KILL")
    assert verdict(program, NATIVE, number("write")) == KILL


def test_errno_is_eperm_when_it_is_left_out() -> None:
    assert verdict(compiled(allow("openat")), NATIVE, number("read")) == ERRNO | EPERM
    refuse = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}
    program = compiled(refuse, defaultAction="SCMP_ACT_ALLOW")
    assert verdict(program, NATIVE, number("read")) == ERRNO | EPERM


def test_an_unknown_name_is_left_out_and_told() -> None:
    assert LIBRARY.system_call("no_such_call") == UNKNOWN
    told: list[str] = []
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow("no_such_call", "openat")]}
    program = compile_profile(profile, LIBRARY, told.append)  # type: ignore[arg-type]
    assert verdict(program, NATIVE, number("openat")) == ALLOW
    assert len(told) == 1
    assert "no_such_call" in told[0]


def test_a_rule_that_is_the_default_changes_nothing() -> None:
    same = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}
    other = {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    program = compiled(same, other, allow("openat"))
    assert verdict(program, NATIVE, number("read")) == ERRNO | EPERM
    assert verdict(program, NATIVE, number("write")) == ERRNO | 13


def test_conditions_on_one_argument_are_alternatives_of_their_own() -> None:
    args: list[Any] = [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 3, "op": "SCMP_CMP_EQ"},
    ]
    assert alternatives(args) == [[(0, 4, 1, 0)], [(0, 4, 2, 0)], [(1, 4, 3, 0)]]
    assert alternatives(args[1:]) == [[(0, 4, 2, 0), (1, 4, 3, 0)]]
    assert alternatives([]) == [[]]


def test_values_keep_all_their_64_bits() -> None:
    high = (1 << 53) + 1  # a double would lose the last bit
    program = compiled(allow("read", args=[{"index": 2, "value": high, "op": "SCMP_CMP_EQ"}]))
    assert verdict(program, NATIVE, number("read"), [0, 0, high]) == ALLOW
    assert verdict(program, NATIVE, number("read"), [0, 0, high - 1]) == ERRNO | EPERM


def test_calls_above_those_the_profile_names_do_not_exist() -> None:
    program = compiled(allow("read", "getrandom"))
    assert verdict(program, NATIVE, number("getrandom")) == ALLOW
    assert verdict(program, NATIVE, number("write")) == ERRNO | EPERM
    assert verdict(program, NATIVE, number("statx")) == ERRNO | ENOSYS
    assert verdict(program, NATIVE, 0x3FFFFFFF) == ERRNO | ENOSYS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_permissive_default_is_so_for_new_calls_too(default: str) -> None:
    kill = {"names": ["read"], "action": "SCMP_ACT_KILL"}
    program = compiled(kill, defaultAction=default)
    assert verdict(program, NATIVE, 0x3FFFFFFF) == action_number(default, None)


def test_the_native_architecture_is_always_covered() -> None:
    for architectures in ([], ["SCMP_ARCH_X86"], ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86_64"]):
        program = compiled(allow("read"), architectures=architectures)
        assert verdict(program, NATIVE, number("read")) == ALLOW


def test_each_architecture_has_its_own_numbers() -> None:
    x86, x32 = LIBRARY.architecture("x86"), LIBRARY.architecture("x32")
    if LIBRARY.architecture("x86_64") != NATIVE:
        pytest.skip("numbers of x86_64 are tested on x86_64")
    every = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    program = compiled(allow("read", "getrandom"), architectures=every)
    assert verdict(program, x86, 3) == ALLOW
    assert verdict(program, x86, 4) == ERRNO | EPERM
    assert verdict(program, x86, LIBRARY.system_call_of(x86, "statx")) == ERRNO | ENOSYS
    assert verdict(program, NATIVE, 0x40000000) == ALLOW  # x32: read
    assert verdict(program, NATIVE, 0x40000001) == ERRNO | EPERM
    newest = LIBRARY.system_call_of(x32, "getrandom")
    assert verdict(program, NATIVE, newest) == ALLOW
    assert verdict(program, NATIVE, newest + 1) == ERRNO | ENOSYS
    # Not listed: killed, as libseccomp has it.
    alone = compiled(allow("read"))
    assert verdict(alone, x86, 3) == KILL
    assert verdict(alone, NATIVE, 0x40000000) == KILL


def test_an_architecture_the_library_does_not_know_is_refused() -> None:
    class Old:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return getattr(LIBRARY, name)

        def architecture(self, name: str) -> int:
            return 0 if name == "riscv64" else LIBRARY.architecture(name)

    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_RISCV64"]}
    with pytest.raises(UnsupportedError) as caught:
        compile_profile(profile, Old())  # type: ignore[arg-type]
    assert caught.value.problems[0].pointer == "/linux/seccomp/architectures/0"


def test_a_program_longer_than_the_kernel_takes_is_refused() -> None:
    rules = [
        allow("read", args=[{"index": 0, "value": v << 32 | v, "op": "SCMP_CMP_EQ"}])
        for v in range(1, 2500)
    ]
    with pytest.raises(SetupError, match="compiling the seccomp filter"):
        compiled(*rules)


def test_a_clients_profile_says_what_it_says() -> None:
    """The profile of podman, captured: a tree of 400 calls for three architectures."""
    profile = json.loads((CONFIGS / "seccomp.json").read_text())
    profile["defaultErrnoRet"] = 99
    program = compile_profile(profile, LIBRARY)
    actions: dict[str, set[int]] = {}
    for rule in profile["syscalls"]:
        if not rule.get("args"):
            action = action_number(rule["action"], rule.get("errnoRet"))
            for name in rule["names"]:
                actions.setdefault(name, set()).add(action)
    tried = 0
    for name, said in actions.items():
        if len(said) == 1 and number(name) >= 0:
            assert {verdict(program, NATIVE, number(name))} == said, name
            tried += 1
    assert tried > 300
    assert verdict(program, NATIVE, 0x3FFFFFFF) == ERRNO | ENOSYS
