#!/usr/bin/env python3
"""Print the version of the package, which `ocirun/__init__.py` alone states.

Run by meson before it knows the project, so it reads the source as text.
"""

from __future__ import annotations

import re
from pathlib import Path

source = (Path(__file__).parents[1] / "__init__.py").read_text()
if found := re.search(r'^__version__ = "([0-9][^"]*)"$', source, re.MULTILINE):
    print(found[1])
else:
    raise SystemExit('ocirun/__init__.py has no line __version__ = "…"')
