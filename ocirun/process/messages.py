"""The protocol: each message between parent and init, who sends it and what answers it.

    parent                                    init
      │ bootstrapData ───────────────────────► │  namespaces to join
      │   (id maps written)                    │
      │ sendConfig ──────────────────────────► │  config.json and the descriptors; it makes its plan
      │ ◄─────────────────────────── procReady │  cgroup and namespaces entered, config understood
      │ procRun ─────────────────────────────► │  root, mounts, devices, links
      │ ◄─────────────────────────── procHooks │  the root is assembled, not yet entered
      │   (limits applied; host's hooks run)   │
      │ procResume ──────────────────────────► │  pivot_root, masks, user, capabilities
      │ ◄────────────────────────── procLimits │  only when a hard limit must be raised,
      │ limitsRaised ────────────────────────► │  which needs the parent's privilege
      │ ◄───────────────────────── procSeccomp │  only when an agent decides about system calls:
      │   (takes the descriptor to the agent)  │  the number of init's descriptor for it
      │ listenerTaken ───────────────────────► │
      │ ◄──────────────────────────── procGate │  nothing left to decide: it waits for `start`

procSeccomp carries no descriptor: from the filter on, sending one may be a call that waits for the
very agent. Writing to a socket may not (SCMP_ACT_NOTIFY is refused for write), so that a number is
written and the parent fetches the descriptor itself, with pidfd_getfd.

procRun and procResume are sent ahead, before init waits for them, where the parent does nothing in
between: there are no network devices to move; no limits but rules for devices, and no hooks of the
host (container/create.py).

Where sendConfig says `unattended` (only to what a helper has cloned), init sends neither procReady
nor procHooks, and does not wait for procResume.

procWarning (a sentence) may come from stage or init at any time before procGate, and has no answer.

Three more may stand in for these. Where a stage process has to enter namespaces before init can be
cloned (stage.py), bootstrapData goes to the stage and carries config.json already, `procCloned`
answers it with init's pidfd, and sendConfig brings init no more than the descriptors. A child that
the parent has forked has configuration, request and plan in its copy of the parent's memory, and is
sent descriptors alone. What a helper has cloned (helper.py) speaks first: init with `procCloned`, a
stage with `procStage`. `procError` may come instead of any message of stage or init: {"message",
"errno", "notes"}, and nothing follows it.

A message is a name, a JSON body and descriptors; see channel.py for how it travels.

Source: ARCHITECTURE.md#the-story, whose names `--debug` prints.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BOOTSTRAP_DATA: Final = "bootstrapData"  # parent → stage or init
PROC_STAGE: Final = "procStage"  # stage that a helper has cloned → parent: its pid
PROC_CLONED: Final = "procCloned"  # stage or init → parent, with one descriptor: init's pidfd
SEND_CONFIG: Final = "sendConfig"  # parent → init
PROC_READY: Final = "procReady"  # init → parent, answers bootstrapData and sendConfig
PROC_RUN: Final = "procRun"  # parent → init
PROC_HOOKS: Final = "procHooks"  # init → parent, answers procRun
PROC_RESUME: Final = "procResume"  # parent → init
PROC_LIMITS: Final = "procLimits"  # init → parent
LIMITS_RAISED: Final = "limitsRaised"  # parent → init, answers procLimits
PROC_SECCOMP: Final = "procSeccomp"  # init → parent: the number of the filter's descriptor
LISTENER_TAKEN: Final = "listenerTaken"  # parent → init, answers procSeccomp
PROC_GATE: Final = "procGate"  # init → parent, answers procResume
PROC_WARNING: Final = "procWarning"  # stage or init → parent, before any other message
PROC_ERROR: Final = "procError"  # stage or init → parent, in place of any answer

# Security: descriptors that come with any other message are closed.
WITH_DESCRIPTORS: Final = (BOOTSTRAP_DATA, PROC_CLONED, SEND_CONFIG)
