"""Run a verb and keep everything that tells why it went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from harness.bundle import Bundle

# An emulated machine is several times slower: there every limit of time is as many times longer.
PATIENCE = float(os.environ.get("OCIRUN_PATIENCE", "1"))
TIMEOUT_S = 30.0 * PATIENCE


class Result:
    """What one call of the runtime gave: `status`, `stdout`, `stderr`, `log` (the --log file)."""

    def __init__(self, argv: list[str], status: int, files: Path, bundle: Bundle | None) -> None:
        self.argv = argv
        self.status = status
        self.bundle = bundle
        self.files = files

    @property
    def stdout(self) -> str:
        """Standard output as it is now: a container that goes on running may add to it."""
        return _text(self.files.with_suffix(".out"))

    @property
    def stderr(self) -> str:
        return _text(self.files.with_suffix(".err"))

    @property
    def log(self) -> str:
        return _text(self.files.with_suffix(".log"))

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of the json log."""
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def said(self) -> str:
        """Everything the runtime said about a failure, on both channels."""
        return self.stderr + "\n".join(str(line.get("msg")) for line in self.log_lines)

    def json(self) -> Any:  # noqa: ANN401  # whatever the program printed
        return json.loads(self.stdout)

    def ok(self) -> Result:
        """Be sure that it succeeded; returns itself."""
        assert self.status == 0, f"exit status {self.status}\n{self.story()}"
        return self

    def failed(self, *texts: str, status: int = 1) -> Result:
        """Be sure that it failed with this status and said each of `texts`; returns itself."""
        assert self.status == status, f"exit status {self.status}, not {status}\n{self.story()}"
        for text in texts:
            assert text in self.said, f"{text!r} was not said\n{self.story()}"
        return self

    def story(self, *, with_config: bool = True) -> str:
        """The call for a reader: command, status, outputs, log and config."""
        parts = [
            "$ " + " ".join(self.argv),
            f"exit status {self.status}",
            *(f"{name}: {text}" for name, text in self._outputs() if text),
        ]
        if self.bundle and with_config:
            config = self.bundle.path / "config.json"
            parts.append(f"config.json: {json.dumps(json.loads(_text(config)))}")
        return "\n".join(parts)

    def _outputs(self) -> list[tuple[str, str]]:
        return [("stdout", self.stdout[-2000:]), ("stderr", self.stderr), ("log", self.log)]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


class Runtime:
    """The runtime under test with a state root of its own; remembers each call."""

    def __init__(self, name: str, path: str, folder: Path) -> None:
        self.name = name
        self.path = path
        self.root = folder / "state"
        self.calls: list[Result] = []
        self.settings: list[str] = []  # global options that every call gets
        self.owner: dict[str, Any] = {}  # Popen's keys for being whom the state root belongs to
        self._files = folder / "calls"
        self._files.mkdir()

    def spawn(
        self,
        *arguments: str | Path,
        stdin: bytes | IO[bytes] | int | None = None,
        bundle: Bundle | None = None,
        env: dict[str, str] | None = None,
        **popen: Any,  # noqa: ANN401  # handed to Popen as it is
    ) -> tuple[subprocess.Popen[bytes], Result]:
        """Start `RUNTIME --root R --log L --log-format json ARGUMENTS` and do not wait.

        Outputs go to files: a container that inherits them must not keep us waiting.
        """
        if "preexec_fn" not in popen and self.owner:
            env = env or self.owner["env"]
            popen["preexec_fn"] = self.owner["preexec_fn"]
        result = self.prepare(*arguments, bundle=bundle)
        argv, files = result.argv, result.files
        if stdin is None:
            stdin = subprocess.DEVNULL
        elif isinstance(stdin, bytes):
            files.with_suffix(".in").write_bytes(stdin)
            stdin = files.with_suffix(".in").open("rb")
        with (
            files.with_suffix(".out").open("wb") as stdout,
            files.with_suffix(".err").open("wb") as stderr,
        ):
            popen.setdefault("stdout", stdout)
            popen.setdefault("stderr", stderr)
            process = subprocess.Popen(argv, stdin=stdin, env=env, **popen)
        if not isinstance(stdin, int):
            stdin.close()
        return process, result

    def prepare(self, *arguments: str | Path, bundle: Bundle | None = None) -> Result:
        """Return the command line of the call, for tests that start it themselves."""
        files = self._files / str(len(self.calls))
        log = files.with_suffix(".log")
        prefix = ["--root", str(self.root), "--log", str(log), "--log-format", "json"]
        argv = [self.path, *prefix, *self.settings, *(os.fspath(word) for word in arguments)]
        if bundle:
            bundle.save()
        result = Result(argv, -1, files, bundle)
        self.calls.append(result)
        return result

    def run_prepared(self, result: Result, timeout: float = TIMEOUT_S) -> Result:
        """Run a call of `prepare`, whose argv may have been changed, to its end."""
        with (
            result.files.with_suffix(".out").open("wb") as stdout,
            result.files.with_suffix(".err").open("wb") as stderr,
        ):
            process = subprocess.Popen(
                result.argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
        return finish(process, result, timeout)

    def call(self, *arguments: str | Path, timeout: float = TIMEOUT_S, **keys: Any) -> Result:  # noqa: ANN401
        """Run a verb to its end. Keys: stdin, bundle, env, and whatever Popen takes."""
        process, result = self.spawn(*arguments, **keys)
        return finish(process, result, timeout)


def finish(process: subprocess.Popen[bytes], result: Result, timeout: float = TIMEOUT_S) -> Result:
    """Wait for a spawned verb; a hanging one is killed and fails the test."""
    try:
        result.status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        result.status = process.wait()
        raise AssertionError(f"no end after {timeout} s\n{result.story()}") from None
    return result


def wait_until(
    question: Any,  # noqa: ANN401  # any callable; its truth is what counts
    what: str,
    timeout: float = 10.0,
) -> Any:  # noqa: ANN401
    """Ask until the answer is true; returns it. Fails with `what` after `timeout` seconds."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.005)
