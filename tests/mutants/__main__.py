"""Change one thing in a module, and see whether its unit tests notice: make mutants.

    python tests/mutants [MODULE …] [--each N] [--seed S]

A mutant is a module with one comparison, condition, number, boolean or operator changed. Each runs
in a process of its own that is forked with pytest loaded, and sees the changed module through an
import hook: no file is touched. A test that fails, or that does not end, kills the mutant.

mutmut and cosmic-ray do the same. The one cannot find our compiled module beside the sources it
copies, the other starts pytest anew for each mutant, which takes five times as long.
"""
# ruff: noqa: T201  # nothing here is a secret; a program that prints a table

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import ModuleType

import hypothesis  # noqa: F401  # loaded before the forks, for its plugin is slow to load
import pytest
from table import TESTS_OF

TESTS = Path(__file__).parents[1]
INSTALLED = Path(sysconfig.get_path("platlib"))
SLOWER = 10  # a mutant may take so many times as long as the module, and then does not end
LEAST_S = 10.0

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.In: ast.NotIn, ast.NotIn: ast.In,  # codespell:ignore notin
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip

Change = Callable[[], str]  # changes the tree it was made for, and returns words for it


def changes(tree: ast.Module) -> Iterator[Change]:
    """Yield every change that a mutant of `tree` may have."""
    for node in _code(tree):
        if isinstance(node, ast.Compare):
            for index, operator in enumerate(node.ops):
                if type(operator) in SWAPS:
                    yield _swap(node, index)
        elif isinstance(node, ast.BoolOp | ast.BinOp | ast.AugAssign):
            if type(node.op) in SWAPS:
                yield _swap(node, None)
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            yield _negate(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield _other(node)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: no annotations, nothing that only the type checker sees."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            checked_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            guard = isinstance(child, ast.Assign) and ast.unparse(child) == "TYPE_CHECKING = False"
            if isinstance(child, ast.AST) and not checked_only and not guard:
                yield from _code(child)


def _swap(node: ast.Compare | ast.BoolOp | ast.BinOp | ast.AugAssign, index: int | None) -> Change:
    def change() -> str:
        before = ast.unparse(node)
        if isinstance(node, ast.Compare):
            assert index is not None
            node.ops[index] = SWAPS[type(node.ops[index])]()  # type: ignore[call-overload]
        else:
            node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
        return f"{node.lineno}: {before}  →  {ast.unparse(node)}"

    return change


def _negate(node: ast.If | ast.While | ast.IfExp) -> Change:
    def change() -> str:
        before = ast.unparse(node.test)
        node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
        return f"{node.lineno}: if {before}  →  if {ast.unparse(node.test)}"

    return change


def _other(node: ast.Constant) -> Change:
    def change() -> str:
        before = node.value
        node.value = not before if isinstance(before, bool) else before + 1  # type: ignore[operator]
        return f"{node.lineno}: {before}  →  {node.value}"

    return change


def mutant(source: str, number: int) -> tuple[ast.Module, str]:
    """Return the tree of mutant `number` of a module, and what was changed."""
    tree = ast.parse(source)
    words = list(changes(tree))[number]()
    return ast.fix_missing_locations(tree), words


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the module `name` from a tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(
        self,
        fullname: str,
        path: object = None,  # noqa: ARG002  # given by the import system
        target: object = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, self.path, "exec"), module.__dict__)


def start(module: str, path: Path, tree: ast.Module, tests: Sequence[str]) -> int:
    """Fork a process that runs `tests` with `tree` in the place of `module`; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(silent, fd)
        sys.meta_path.insert(0, Changed(module, path, tree))
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        status = int(pytest.main([*options, *(str(TESTS / "unit" / name) for name in tests)]))
    except BaseException:  # noqa: BLE001  # whatever it is, the mutant was noticed
        status = 1
    os._exit(status)


def finished(pid: int, seconds: float) -> int:
    """Wait for the process; return its status, 1 for one that had to be killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 1


def examine(module: str, each: int, random: Random) -> tuple[int, int, list[str]]:
    """Return how many mutants of `module` were tried and killed, and which survived.

    Raises:
        SystemExit: the tests fail for the module as it is.
    """
    path = INSTALLED / Path(*module.split(".")).with_suffix(".py")
    source = path.read_text()
    tests = TESTS_OF[module]
    started = time.monotonic()
    if finished(start(module, path, ast.parse(source), tests), 600):
        raise SystemExit(f"{module}: {' '.join(tests)} fail without any change")
    limit = max(LEAST_S, SLOWER * (time.monotonic() - started))
    numbers = list(range(len(list(changes(ast.parse(source))))))
    random.shuffle(numbers)
    chosen = sorted(numbers[:each])
    survivors = []
    waiting: list[tuple[int, str]] = []
    for number in [*chosen, None]:
        while waiting and (number is None or len(waiting) >= (os.cpu_count() or 1)):
            pid, words = waiting.pop(0)
            if finished(pid, limit) == 0:
                survivors.append(words)
        if number is not None:
            tree, words = mutant(source, number)
            waiting.append((start(module, path, copy.deepcopy(tree), tests), words))
    return len(chosen), len(chosen) - len(survivors), survivors


def main() -> None:
    """Print a line for each module and each survivor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="dotted; default: all")
    parser.add_argument("--each", type=int, default=24, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1, help="which mutants")
    options = parser.parse_args()
    os.chdir(TESTS.parent)
    tried = killed = 0
    for module in options.modules or TESTS_OF:
        some, dead, survivors = examine(module, options.each, Random(options.seed))
        tried, killed = tried + some, killed + dead
        print(f"{module}: {dead} of {some} killed", flush=True)
        for words in survivors:
            print(f"    {words}", flush=True)
    print(f"{killed} of {tried} mutants killed: {killed * 100 // max(tried, 1)} %")


if __name__ == "__main__":
    main()
