"""The linters, as tests: whoever runs `pytest` has run them all."""

from __future__ import annotations

from harness.sources import is_shell_script, judge, tool, tracked


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


def test_imports_go_downwards_only() -> None:
    judge(tool("lint-imports"))


def test_words_are_spelled_right() -> None:
    words = [path for path in tracked() if path.suffix in (".py", ".md", ".c", ".h", ".toml")]
    judge(tool("codespell"), *words)


def test_shellcheck_finds_nothing() -> None:
    judge(tool("shellcheck"), *(path for path in tracked() if is_shell_script(path)))
