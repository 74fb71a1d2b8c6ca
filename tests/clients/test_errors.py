"""What users and clients get to see when something cannot be: runc's words and statuses.

Each case goes into the table of docs/clients-outcomes.md, with the message of either runtime.
"""

from __future__ import annotations

import pytest

from clients import mistakes
from clients.askers import AskCri, AskCtr, AskDocker, Asker, AskPodman
from clients.conftest import Tell

ASKERS = {"ctr": AskCtr, "podman": AskPodman, "docker": AskDocker, "cri": AskCri}
FIXTURES = {"cri": "pod"}  # client → what it is made of, where that has another name


@pytest.fixture
def asker(request: pytest.FixtureRequest, runtime: str, client: str) -> Asker:  # noqa: ARG001  # theirs
    return ASKERS[client](request.getfixturevalue(FIXTURES.get(client, client)))


@pytest.mark.parametrize("client", ASKERS)
@pytest.mark.parametrize(("program", "words"), mistakes.PROGRAMS)
def test_run(asker: Asker, program: str, words: str, tell: Tell) -> None:
    done = asker.run(program)
    tell(f"{asker.client} run", program, done)
    done.expect(mistakes.status(mistakes.RUN_STATUSES, asker.client, program))
    assert words in done.err


@pytest.mark.parametrize("client", ASKERS)
@pytest.mark.parametrize(("program", "words"), mistakes.PROGRAMS)
def test_exec(asker: Asker, program: str, words: str, tell: Tell) -> None:
    done = asker.exec(program)
    tell(f"{asker.client} exec", program, done)
    # runc 1.1.15 no longer says "permission denied" of a directory, by which podman knows it.
    is_new = asker.client == "podman" and "is a directory" in done.said.rpartition(": ")[2]
    done.expect(255 if is_new else mistakes.status(mistakes.EXEC_STATUSES, asker.client, program))
    assert words in done.said


@pytest.mark.parametrize("client", ASKERS)
@pytest.mark.parametrize(("program", "words"), mistakes.KERNEL_REFUSES)
def test_run_refused_by_the_kernel(asker: Asker, program: str, words: str, tell: Tell) -> None:
    """The container has run: its words are in its log, and a restart policy applies."""
    done = asker.run(program)
    tell(f"{asker.client} run", program, done)
    said = done.expect(1).err
    # Ours says why behind the kernel's word, in the same line.
    assert (said.startswith(words), said.count("\n"), said[-1:]) == (True, 1, "\n")


@pytest.mark.parametrize("client", ASKERS)
@pytest.mark.parametrize(("program", "words"), mistakes.KERNEL_REFUSES)
def test_exec_refused_by_the_kernel(asker: Asker, program: str, words: str, tell: Tell) -> None:
    done = asker.exec(program)
    tell(f"{asker.client} exec", program, done)
    assert words in done.expect(1).said


@pytest.mark.parametrize(("client", "case"), mistakes.ASKED)
def test_setting(asker: Asker, case: str, tell: Tell) -> None:
    setting = mistakes.SETTINGS[case]
    done = asker.run("true", settings=setting.asked[asker.client])
    tell(f"{asker.client} run", case, done)
    done.expect(mistakes.status(mistakes.SETTING_STATUSES, asker.client, case))
    for words in setting.words:
        assert words in done.err
