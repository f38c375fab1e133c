"""`make simulate`: see `command`."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
# Instead of this folder, whose names are those of a package here.
sys.path[:1] = [str(_TESTS), str(_TESTS / "bench")]

from simulate.command import main  # noqa: E402 - the folders above come first

if __name__ == "__main__":
    sys.exit(main())
