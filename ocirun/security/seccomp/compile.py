"""A profile becomes the program that the kernel runs at every system call.

libseccomp turns rules into a program; before it stands one of ours (newer.py).

Source: runtime-spec config-linux.md#seccomp; docs/runc-compat/seccomp.md#filters.
"""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOSYS, EOPNOTSUPP, EPERM

from ocirun.errors import Problem, SetupError, UnsupportedError, doing
from ocirun.kernel.libseccomp import UNKNOWN
from ocirun.kernel.seccomp import BPF_MAXINSNS, INSTRUCTION_BYTES
from ocirun.security.seccomp.newer import refuse_newer
from ocirun.spec.seccomp import ACTIONS, OPERATORS, PERMISSIVE, WITH_ERRNO, library_arch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.kernel.libseccomp import Condition, Filter, Library
    from ocirun.spec.types import Seccomp, Syscall, SyscallArg

# From so many calls on, looking one up in a tree is faster than in a row; and libseccomp
# up to 2.5.4 gets a tree without rules wrong.
CALLS_FOR_A_TREE: Final = 32


def compile_profile(
    profile: Seccomp, library: Library, tell: Callable[[str], None] | None = None
) -> bytes:
    """Compile `profile` for this machine: struct sock_filter after struct sock_filter.

    `tell` hears of names that the library does not know; they are left out.

    Raises:
        UnsupportedError: the library does not know an architecture.
        SetupError: it refuses a rule, or the program is longer than the kernel takes.
    """
    architectures = known_architectures(profile, library)
    rules = profile.get("syscalls") or []
    default = action_number(profile["defaultAction"], profile.get("defaultErrnoRet"))
    with doing("beginning the seccomp filter"):
        filter_ = library.filter(default)
    with filter_:
        for architecture in architectures:
            with doing(f"adding the architecture {architecture:#x} to the seccomp filter"):
                filter_.add_architecture(architecture)
        if sum(len(rule["names"]) for rule in rules) > CALLS_FOR_A_TREE:
            _use_binary_tree(filter_)
        for rule in rules:
            action = action_number(rule["action"], rule.get("errnoRet"))
            if action != default:  # that is what happens anyway, and the library refuses it
                _add_rule(filter_, library, action, rule, tell)
        with doing("compiling the seccomp filter"):
            program = filter_.export()
    if profile["defaultAction"] not in PERMISSIVE and default != ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS:
        program = refuse_newer(_newest_calls(rules, library, architectures)) + program
    if len(program) > BPF_MAXINSNS * INSTRUCTION_BYTES:
        count = len(program) // INSTRUCTION_BYTES
        raise SetupError(
            f"compiling the seccomp filter: it has {count} instructions, "
            f"and the kernel takes {BPF_MAXINSNS}"
        )
    return program


def action_number(word: str, errno: int | None) -> int:
    """Return the number of the action `word`; where it hands on an errno, that is EPERM by default.

    Source: runtime-spec config-linux.md#seccomp, errnoRet.
    """
    number = ACTIONS[word]
    if word in WITH_ERRNO:
        number |= EPERM if errno is None else errno
    return number


def known_architectures(profile: Seccomp, library: Library) -> list[int]:
    """Return the numbers of the architectures of `profile`, the machine's own first."""
    numbers = [library.native_architecture()]
    problems = []
    for index, word in enumerate(profile.get("architectures") or ()):
        number = library.architecture(library_arch(word))
        if number == 0:
            message = f"{word} is not known to libseccomp {library.version()}"
            problems.append(Problem(f"/linux/seccomp/architectures/{index}", message))
        elif number not in numbers:
            numbers.append(number)
    if problems:
        raise UnsupportedError(problems)
    return numbers


def alternatives(args: list[SyscallArg]) -> list[list[Condition]]:
    """Return the lists of conditions of which one must hold, wholly.

    Conditions on different arguments belong together. When an argument has several, each
    condition of the rule stands alone, as it always did in runc.
    """
    conditions = [
        (arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)) for arg in args
    ]
    if len({index for index, *_ in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _use_binary_tree(filter_: Filter) -> None:
    try:
        filter_.use_binary_tree()
    except OSError as error:
        # Before libseccomp 2.5 there is no such attribute; the filter is as right without.
        if error.errno not in (EINVAL, EEXIST, EOPNOTSUPP):
            raise


def _add_rule(
    filter_: Filter,
    library: Library,
    action: int,
    rule: Syscall,
    tell: Callable[[str], None] | None,
) -> None:
    lists = alternatives(rule.get("args") or [])
    for name in rule["names"]:
        number = library.system_call(name)
        if number == UNKNOWN:
            if tell:
                tell(f"seccomp: the system call {name} is not known to libseccomp: left out")
            continue
        with doing(f"adding the rule for {name} to the seccomp filter"):
            for conditions in lists:
                filter_.add_rule(action, number, conditions)


def _newest_calls(
    rules: list[Syscall], library: Library, architectures: list[int]
) -> dict[int, int]:
    """Return the highest number that `rules` name, by architecture; those without any left out."""
    names = {name for rule in rules for name in rule["names"]}
    newest = {}
    for architecture in architectures:
        number = max((library.system_call_of(architecture, name) for name in names), default=-1)
        if number >= 0:
            newest[architecture] = number
    return newest
