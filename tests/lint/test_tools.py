"""The linters, as tests: whoever runs `pytest` has run them all."""

from __future__ import annotations

from harness.machine import REPO
from harness.sources import is_shell_script, judge, tool, tracked

# What mypy says of types: a test hands odd values over on purpose.
NO_CALLS = (
    *(
        "arg-type",
        "assignment",
        "call-overload",
        "dict-item",
        "has-type",
        "import-untyped",
        "index",
    ),
    *("list-item", "misc", "operator", "override", "return-value", "str-bytes-safe", "type-var"),
    *("truthy-function", "typeddict-item", "union-attr", "var-annotated"),
)


def test_ruff_finds_nothing() -> None:
    judge(tool("ruff"), "check", "--quiet", ".")


def test_ruff_would_lay_out_nothing_anew() -> None:
    judge(tool("ruff"), "format", "--check", ".")


def test_mypy_is_content_with_the_package() -> None:
    judge(tool("mypy"))


def test_mypy_is_content_with_the_harness() -> None:
    # The folder tests/ is the root of `harness` and `bench`, not a package itself.
    folders = (
        "tests/harness",
        "tests/bench",
        "tests/lab",
        "tests/conformance",
        "tests/conftest.py",
    )
    judge("env", "MYPYPATH=tests", tool("mypy"), "--explicit-package-bases", *folders)


def test_mypy_is_strict_with_the_examples() -> None:
    judge(tool("mypy"), "--strict", "examples")


def test_mypy_is_strict_with_the_builder_of_the_package() -> None:
    judge(tool("mypy"), "--strict", "tools/debian/build.py")


def test_mypy_finds_no_wrong_call_in_the_tests() -> None:
    """Names, arguments and imports of every test, also of those that only the lab can run."""
    folders = [
        f"tests/{path.name}" for path in (REPO / "tests").iterdir() if any(path.glob("**/*.py"))
    ]
    words = ["--config-file=", "--check-untyped-defs", "--explicit-package-bases"]
    words += ["--ignore-missing-imports", *(f"--disable-error-code={code}" for code in NO_CALLS)]
    judge("env", "MYPYPATH=tests:.", tool("mypy"), *words, *folders)


def test_imports_go_downwards_only() -> None:
    judge(tool("lint-imports"))


def test_words_are_spelled_right() -> None:
    words = [path for path in tracked() if path.suffix in (".py", ".md", ".c", ".h", ".toml")]
    judge(tool("codespell"), *words)


def test_shellcheck_finds_nothing() -> None:
    judge(tool("shellcheck"), *(path for path in tracked() if is_shell_script(path)))
