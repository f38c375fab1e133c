"""A worker process whose reader has left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cortex_jupyter.reader.process import output

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_MUCH = "import sys\nfor _ in range(10_000): sys.stdout.write('x' * 10_000)"


async def test_a_process_ends_even_with_output_that_was_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that leaves a slow search frees its slot for others."""
    begun: list[Any] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        begun.append(await begin(*command, **options))
        return begun[-1]  # type: ignore[no-any-return]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    (tmp_path / "much.py").write_text(_MUCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pieces = output("much", {}, 60)
    assert await anext(pieces)
    async with asyncio.timeout(120):
        while not begun[0].stdout._paused:  # it is not read from any more  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await pieces.aclose()
    assert begun[0].returncode is not None
