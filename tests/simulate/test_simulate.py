"""The model's arithmetic agrees with closed forms, and its command reports bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulate.command import main
from simulate.fleet import Fleet, FleetError, Population
from simulate.parameters import Parameters, ParametersError
from simulate.picture import picture
from simulate.sizing import PLANNED, FleetLoads, batches, mean_age

COSTS = Parameters.load()
SMALL = Fleet(tasks=100, containers=300, viewers=20, lines_per_second=900, task_minutes=600, collectors=3, nodes=20)
ROOT = Path(__file__).parents[2]
MAIN = Path(__file__).with_name("main.py")


def test_the_rate_of_batches_agrees_with_simulated_random_lines() -> None:
    rng, rate, interval = np.random.default_rng(1), 7.0, 0.5
    last, count = -1.0, 0
    times = np.cumsum(rng.exponential(1 / rate, 200_000))
    due = -1.0  # the first line goes out at once, lines that arrive before `due` go out then
    for at in times:
        if at >= due:
            count += 1
            last = max(at, due)
            due = last + interval
    assert count / times[-1] == pytest.approx(float(batches(np.array(rate), interval)), rel=0.02)


def test_the_mean_age_of_running_tasks_agrees_with_the_closed_form() -> None:
    fleet = Fleet(tasks=20_000, containers=20_000, viewers=0, task_minutes=60)
    population = Population(fleet, np.random.default_rng(1))
    assert population.age.mean() == pytest.approx(mean_age(3600), rel=0.05)
    assert population.rate.sum() == pytest.approx(fleet.lines_per_second)


@pytest.mark.parametrize("factor", [0.5, 1, 4])
def test_the_number_of_collectors_suffices_while_one_is_down(factor: float) -> None:
    fleet_loads = FleetLoads(Fleet().scaled(factor), COSTS)
    loads = {part.name: part for part in fleet_loads.parts()}
    running = fleet_loads.fleet.collectors - 1
    assert loads["collectors: logs read at once"].needed <= running
    assert loads["collectors: CPU"].needed / running <= PLANNED * 1.02
    assert [part.load for part in fleet_loads.parts()] == sorted(
        (part.load for part in fleet_loads.parts()), reverse=True
    )


def test_twice_the_lines_are_twice_the_memory() -> None:
    one, two = (FleetLoads(Fleet(lines_per_second=n), COSTS) for n in (20_000, 40_000))
    kept = [p.running_bytes() - p.tail_bytes() - p.fleet.tasks * COSTS.task_kb * 1e3 for p in (one, two)]
    assert kept[1] == pytest.approx(2 * kept[0])
    assert kept[0] == pytest.approx(20_000 * mean_age(3600) * COSTS.line_bytes), (
        "the memory is not the lines per second times the mean time that a line is kept"
    )


def test_the_documented_sizes_are_those_of_the_model() -> None:
    """The table of docs/how-to/capacity.md, by which an administrator plans."""
    rows = re.findall(r"^\| ([\d ]+ \|.*)\|$", (ROOT / "docs" / "how-to" / "capacity.md").read_text(), re.MULTILINE)
    assert len(rows) == 5
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        tasks, containers, lines, viewers, collectors = (int(cell.replace(" ", "")) for cell in cells[1:6])
        loads = FleetLoads(Fleet(tasks, containers, viewers, lines_per_second=lines, collectors=collectors), COSTS)
        needed = {part.name: part.needed for part in loads.parts()}
        memory_mb, running_gb, archive_gb = (float(cells[i].split()[0]) for i in (6, 7, 11))
        servers, maxmemory_gb = re.fullmatch(r"(?:(\d) servers of )?(\d+) GB", cells[8]).groups("1")  # type: ignore[union-attr]
        assert loads.running_bytes() / 1e9 == pytest.approx(running_gb, abs=0.06), row
        assert loads.running_bytes() < 0.45e9 * int(servers) * int(maxmemory_gb), row
        assert lines * 86_400 * COSTS.archive_bytes / 1e9 == pytest.approx(archive_gb, rel=0.1), row
        assert needed["collectors: memory"] * 2048 == pytest.approx(memory_mb, abs=1), row
        assert needed["collectors: CPU"] < (collectors - 1) * PLANNED and containers <= (collectors - 1) * 2000, row
        assert needed["Valkey: its one thread"] < PLANNED * int(servers), row


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": 0},
        {"lines_per_second": float("nan")},
        {"containers": 5, "tasks": 6},
        {"viewers": -1},
        {"containers": 10**7},
    ],
)
def test_invalid_figures_of_a_fleet_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(FleetError):
        Fleet(**wrong)


@pytest.mark.parametrize("change", [{"line_us": -1}, {"line_us": "1"}, {"line_us": True}, {"lines": 1}, None])
def test_invalid_files_of_costs_are_errors(tmp_path: Path, change: dict[str, Any] | None) -> None:
    file = tmp_path / "p.json"
    COSTS.save(file)
    Parameters.load(file).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == file.read_text()
    file.write_text("[" if change is None else json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ParametersError, match="json"):
        Parameters.load(file)


def test_the_command_prints_and_draws_the_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = tmp_path / "picture.svg"
    asked = [
        "--tasks",
        "50",
        "--containers",
        "120",
        "--viewers",
        "10",
        "--lines-per-second",
        "300",
        "--picture",
        str(drawn),
    ]
    assert main(asked) == 0
    out = capsys.readouterr().out
    for text in ("First to be full: ", "collectors: CPU", "costs: "):
        assert text in out
    assert ET.parse(drawn).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--tasks", "no"], "invalid int"),
        (["--tasks", "-1"], "--tasks -1"),
        (["--task", "1"], "unrecognized"),
        (["--parameters", "/nowhere"], "--measure"),
        (["--valkey-gb", "inf"], "--valkey-gb inf"),
    ],
)
def test_invalid_options_of_the_command_are_errors(
    wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert message in capsys.readouterr().err


def test_the_command_runs_from_a_shell() -> None:
    done = subprocess.run([sys.executable, MAIN, "--help"], text=True, capture_output=True, check=True)
    assert "--lines-per-second" in done.stdout and "make simulate" in done.stdout


def test_a_picture_is_well_formed_whatever_is_drawn() -> None:
    root = ET.fromstring(picture("<&>", [1, 10, 100], {"a & b": [0.0, 1e-9, 1e9], "c": [1.0, 1.0, 1.0]}))
    assert "a & b" in "".join(root.itertext())
