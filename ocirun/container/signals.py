"""Names of signals → numbers, as this architecture has them.

Source: signal(7).
"""

from __future__ import annotations

import _signal

SIGNALS = {
    name.removeprefix("SIG"): int(getattr(_signal, name))
    for name in dir(_signal)
    if name.startswith("SIG") and not name.startswith("SIG_")
}
