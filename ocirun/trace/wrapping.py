"""Put wrappers around system calls, plan steps, messages and spans, for one traced process.

All of them are put in place from here, once, before the verb is loaded: the code that is traced
holds no trace of it, and costs the same as ever where none is asked for. What has been imported
by name already (a snapshot has most modules loaded) is replaced wherever it is held.

Source: docs/how-a-container-starts.md#recording.
"""

from __future__ import annotations

import os
import sys

from ocirun.kernel import _native
from ocirun.trace.calls import FINAL, NATIVE, PYTHON, read_table
from ocirun.trace.recorder import now, place, shown, text
from ocirun.trace.spans import FLUSH, LONG, SPANS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.trace.calls import Traced
    from ocirun.trace.recorder import Recorder

MAX_ERROR: Final = 300  # characters
ENTERS: Final = ("unshare", "setns")  # what changes our namespaces
MEMBERS: Final = (
    "supports_dir_fd",
    "supports_fd",
    "supports_follow_symlinks",
    "supports_effective_ids",
)


def wrap(recorder: Recorder, flush: Callable[[], None]) -> None:
    """Have everything recorded from here on; `flush` is called before the verb waits for long."""
    _wrap_native(recorder)
    _wrap_spans(recorder, flush)
    _wrap_steps(recorder)
    _wrap_messages(recorder)
    _wrap_os(recorder)


class TracedCalls:
    """What takes the place of cffi's `lib`: the same functions, each of which is recorded."""

    def __init__(self, lib: Any, recorder: Recorder) -> None:  # noqa: ANN401  # cffi's
        self._lib = lib
        self._recorder = recorder
        self._rows = read_table(NATIVE)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # cffi's
        function = getattr(self._lib, name)
        row = self._rows.get(name)
        if name == "sys_clone3" and row:
            function = _traced_clone(function, row, self._recorder)
        elif row:
            function = _traced_native(function, row, self._recorder)
        setattr(self, name, function)
        return function


def _wrap_native(recorder: Recorder) -> None:
    traced = TracedCalls(_native.lib, recorder)
    original = _native.lib
    for name, module in list(sys.modules.items()):
        if name.startswith("ocirun.kernel.") and getattr(module, "lib", None) is original:
            module.lib = traced  # type: ignore[attr-defined]  # a module of ours that has it


def _traced_native(function: Any, row: Traced, recorder: Recorder) -> Any:  # noqa: ANN401
    kinds, name = row.arguments, row.function

    def call(*arguments: Any) -> Any:  # noqa: ANN401  # cffi's
        if recorder.paused:
            return function(*arguments)
        begin = now()
        result = function(*arguments)
        end = now()
        errno = _native.ffi.errno if result < 0 else 0
        where = place(sys._getframe(1))
        recorder.record("c", name, begin, end, result, errno, shown(kinds, arguments), where)
        if name in ENTERS and not errno:
            recorder.record("n", now(), recorder.namespaces())
        elif name == "sys_seccomp_filter" and not errno and recorder.stops_at_filter:
            recorder.slot = -1  # the filter may forbid the call that reads this machine's clock
        return result

    return call


def _traced_clone(function: Any, row: Traced, recorder: Recorder) -> Any:  # noqa: ANN401
    """Return clone3 that gives the process it clones a slot of its own."""

    def call(*arguments: Any) -> Any:  # noqa: ANN401
        slot = recorder.next_slot()
        begin = now()
        pid = function(*arguments)
        if pid == 0:
            recorder.become(slot)
            return pid
        end = now()
        errno = _native.ffi.errno if pid < 0 else 0
        where = place(sys._getframe(1))
        details = shown(row.arguments, arguments)
        recorder.record("c", row.function, begin, end, pid, errno, details, where)
        if pid > 0:
            recorder.record("k", slot, pid, end)
        return pid

    return call


def _wrap_os(recorder: Recorder) -> None:
    for row in read_table(PYTHON).values():
        original = getattr(os, row.function)
        traced = _traced_function(original, row, recorder)
        setattr(os, row.function, traced)
        for member in MEMBERS:  # what shutil asks before it removes a tree
            known = getattr(os, member)
            if original in known:
                known.add(traced)


def _traced_function(function: Any, row: Traced, recorder: Recorder) -> Any:  # noqa: ANN401
    kinds, name, is_final = row.arguments, f"os.{row.function}", row.function in FINAL

    def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401  # of os
        if recorder.paused:
            return function(*arguments, **keywords)
        details = shown(kinds, arguments)
        numbers = {key: value for key, value in keywords.items() if isinstance(value, int)}
        if numbers:
            details.append(numbers)
        where = place(sys._getframe(1))
        begin = now()
        if is_final:
            recorder.record("x", name, begin, details, where)
        try:
            result = function(*arguments, **keywords)
        except OSError as error:
            recorder.record("c", name, begin, now(), -1, error.errno or 0, details, where)
            raise
        end = now()
        recorder.record("c", name, begin, end, _outcome(result), 0, details, where)
        return result

    return call


def _outcome(result: object) -> object:
    """Return what of a result is recorded: a number, a path, two descriptors; else nothing."""
    if isinstance(result, int):
        return result
    if isinstance(result, str):
        return text(result)
    if isinstance(result, tuple) and all(isinstance(one, int) for one in result):
        return list(result[:2])
    return len(result) if isinstance(result, bytes | list) else None


def _wrap_steps(recorder: Recorder) -> None:
    """Have each step recorded when it acts."""
    from ocirun.process import step

    original = step.Step.__init__

    def init(self: step.Step, name: str, act: Callable[..., None]) -> None:
        code: Any = act.__code__
        where = f"{code.co_filename}:{code.co_firstlineno}"
        function = act.__qualname__.partition(".")[0]  # of `mounting.<locals>.mount`
        key = f"{act.__module__.removeprefix('ocirun.')}:{function}"
        details = {"function": key, "place": where}
        original(self, name, _span(act, "step", lambda *_: (name, details), recorder))

    step.Step.__init__ = init  # type: ignore[method-assign]


def _wrap_messages(recorder: Recorder) -> None:
    from ocirun.process.channel import Channel

    send, receive = Channel.send, Channel.receive

    def traced_send(self: Channel, name: str, body: object = None, fds: Any = ()) -> None:  # noqa: ANN401
        begin = now()
        # Order: before it is sent. The command may write its file as soon as it has init's last.
        recorder.record("m", "send", name, begin, begin, len(fds), "")
        try:
            send(self, name, body, fds)
        except BaseException as error:
            recorder.record("m", "send", name, begin, now(), len(fds), _sentence(error))
            raise

    def traced_receive(self: Channel, *expected: str) -> tuple[str, Any, list[int]]:
        begin = now()
        try:
            name, body, fds = receive(self, *expected)
        except BaseException as error:
            expected_names = " or ".join(expected)
            recorder.record("m", "receive", expected_names, begin, now(), 0, _sentence(error))
            raise
        recorder.record("m", "receive", name, begin, now(), len(fds), "")
        return name, body, fds

    Channel.send = traced_send  # type: ignore[method-assign]
    Channel.receive = traced_receive  # type: ignore[method-assign]


def _wrap_spans(recorder: Recorder, flush: Callable[[], None]) -> None:
    """Have the functions of SPANS recorded, wherever they are held."""
    replaced = {}
    for target, label in SPANS.items():
        owner, name, function = find(target)
        describe = _describe(target, label, function)
        acts = _while_paused(function, recorder, flush) if target == LONG else function
        traced = _span(acts, "span", describe, recorder)
        setattr(owner, name, traced)
        replaced[id(function)] = traced
    for module in [mod for name, mod in sys.modules.items() if name.startswith("ocirun.")]:
        for name, value in list(vars(module).items()):
            if id(value) in replaced:
                setattr(module, name, replaced[id(value)])


def find(target: str) -> tuple[Any, str, Any]:
    """Return what holds the function of a row of SPANS, its name there, and the function."""
    module, _, path = target.partition(":")
    __import__(f"ocirun.{module}")
    owner: Any = sys.modules[f"ocirun.{module}"]
    *outer, name = path.split(".")
    for each in outer:
        owner = getattr(owner, each)
    return owner, name, vars(owner)[name]


def _describe(target: str, label: str, function: Any) -> Callable[..., tuple[str, dict[str, Any]]]:  # noqa: ANN401
    code = function.__code__
    details = {"function": target, "place": f"{code.co_filename}:{code.co_firstlineno}"}

    def describe(*arguments: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
        if target == "process.hooks:run_hooks":
            moment, hooks, *_ = arguments
            paths = [text(hook["path"]) for hook in hooks]
            return f"run {moment} hooks", {**details, "hooks": paths}
        if target == "process.hooks:_run":
            return f"hook {text(arguments[0]['path'])}", details
        if target.startswith("cgroups.cgroup:"):
            return label, {**details, "cgroups": [text(path) for path in _paths(arguments[0])]}
        return label, details

    return describe


def _paths(cgroup: Any) -> list[str]:  # noqa: ANN401  # a Cgroup
    """Return the directories of a cgroup, without asking the kernel."""
    return sorted({str(path) for path in cgroup.paths.values()})


def _span(
    function: Any,  # noqa: ANN401
    category: str,
    describe: Callable[..., tuple[str, dict[str, Any]]],
    recorder: Recorder,
) -> Any:  # noqa: ANN401
    def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        name, details = describe(*arguments)
        recorder.record("b", now(), category, name, details)
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            recorder.record("e", now(), _sentence(error))
            raise
        recorder.record("e", now(), "")
        return result

    return call


def _while_paused(function: Any, recorder: Recorder, flush: Any) -> Any:  # noqa: ANN401  # functions
    code = flush.__code__
    details = {"function": FLUSH, "place": f"{code.co_filename}:{code.co_firstlineno}"}
    traced_flush = _span(flush, "span", lambda: (FLUSH, details), recorder)

    def call(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        traced_flush()
        recorder.paused = True
        try:
            return function(*arguments, **keywords)
        finally:
            recorder.paused = False

    return call


def _sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:MAX_ERROR]
