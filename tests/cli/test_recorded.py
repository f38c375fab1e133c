from __future__ import annotations

import csv
import gzip
import io
import os
import pty
import re
import subprocess
import time
from typing import TYPE_CHECKING

import orjson
import pyarrow.parquet as pq
import pytest
from support.filled import T0

from cortex_jupyter.cli import main
from cortex_jupyter.model import Source

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli
    from support.filled import Filled


@pytest.fixture
def task(filled: Filled) -> Filled:
    filled.lines([(1, i, f"INFO step {i}") for i in range(100)])
    return filled.lines([(2, 100, "ERROR \x1b[31mred\x1b[0m \x1b]0;title\x07\x00")]).end(
        3, "failed", "Job failed exit 3"
    )


def test_text_is_as_written_when_piped(cli: Cli, task: Filled) -> None:
    done = cli("logs", "ml:train-1")
    assert done.returncode == 0
    assert done.stderr == "Job failed exit 3\n101 lines, 00:00:00 to 00:00:00 UTC, 3 sources, complete\n"
    assert done.stdout.split("\n") == [f"INFO step {i}" for i in range(100)] + [
        "ERROR \x1b[31mred\x1b[0m \x1b]0;title\x07\x00",
        "",
    ]


def test_follow_exits_with_the_tasks_exit_code(cli: Cli, task: Filled) -> None:
    done = cli("logs", "ml:train-1", "-f")
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 101
    assert done.stderr.splitlines() == [
        "Job failed exit 3",
        "101 lines, 00:00:00 to 00:00:00 UTC, 3 sources, complete",
    ]


@pytest.mark.parametrize("options", [(), ("-f",)])
def test_errors_are_whole_tracebacks(cli: Cli, filled: Filled, options: tuple[str, ...]) -> None:
    traceback = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    g()", "ValueError: no"]
    for i, text in enumerate(["INFO on", *traceback, "INFO off"]):  # each line is a batch
        filled.lines([(1, i, text)])
    filled.end(1, "failed", "Job failed exit 1")
    assert cli("logs", "ml:train-1", "--level", "error", *options).stdout.splitlines() == traceback


def test_json_and_ndjson(cli: Cli, task: Filled) -> None:
    doc = orjson.loads(cli("logs", "ml:train-1", "-o", "json", "--tail", "2").stdout)
    assert doc["task"] == "ml:job/train-1" and doc["complete"]["records"] == 101
    assert [r["seq"] for r in doc["records"]] == [100, 101]
    assert doc["records"][1] == {
        "seq": 101,
        "time": "2026-01-01T00:00:00.000000100Z",
        "pod": "train-1-bb",
        "container": "main",
        "kind": "main",
        "run": 1,
        "node": "node-2",
        "stream": "unknown",
        "level": "error",
        "text": "ERROR \x1b[31mred\x1b[0m \x1b]0;title\x07\x00",
    }
    lines = cli("logs", "ml:train-1", "-f", "-o", "ndjson").stdout.splitlines()
    assert [orjson.loads(x)["seq"] for x in lines] == list(range(1, 102))


def test_lines_around_matches(cli: Cli, task: Filled) -> None:
    grep = ("logs", "ml:train-1", "--grep", "step (7|9|20)$", "-C", "2")
    groups = [range(5, 12), range(18, 23)]
    expected = "--\n".join("".join(f"INFO step {i}\n" for i in group) for group in groups)
    assert cli(*grep).stdout == cli(*grep, "-f").stdout == expected
    documents = [orjson.loads(line) for line in cli(*grep, "-o", "ndjson").stdout.splitlines()]
    assert [(d["seq"] - 1, d["match"]) for d in documents] == [(i, i in (7, 9, 20)) for g in groups for i in g]
    assert orjson.loads(cli(*grep, "-o", "json").stdout)["records"] == documents
    assert cli("logs", "ml:train-1", "--level", "error", "-C", "1").stdout.startswith("INFO step 99\nERROR ")
    nothing = cli("logs", "ml:train-1", "--grep", "nothing", "-C", "2")
    assert not nothing.stdout and "none of its 101 lines matches" in nothing.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-C", "2"), "-C without a filter"),
        (("-C", "-1", "--grep", "x"), "-C -1 is negative"),
        (("-C", "2", "--grep", "x", "--tail", "5"), "-C does not work with --tail"),
    ],
)
def test_lines_around_what_is_refused(cli: Cli, task: Filled, options: tuple[str, ...], message: str) -> None:
    done = cli("logs", "ml:train-1", *options)
    assert done.returncode == 2 and message in done.stderr


def test_a_backlog_is_followed_in_the_order_of_time(cli: Cli, filled: Filled) -> None:
    """Recorders read a backlog in blocks, one container after the other."""
    for sid in (1, 2):
        filled.lines([(sid, 10 * i + sid, f"{sid} {i}") for i in range(1500)])
    filled.notice("gap", "lines are missing", 7005, reason="r", **{"from": "0", "to": "1"})
    filled.end()
    done = cli("logs", "ml:train-1", "-f", "-o", "ndjson", "--since", "all")
    found = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [r["text"] for r in found] == [f"{sid} {i}" for i in range(1500) for sid in (1, 2)]
    assert sorted(r["seq"] for r in found) == list(range(1, 3001))
    assert done.stderr.splitlines()[:2] == ["lines are missing", "Job complete exit 0"]
    tail = cli("logs", "ml:train-1", "-f", "--tail", "3")
    assert tail.stdout.splitlines() == ["2 1498", "1 1499", "2 1499"]


def test_a_window_counts_from_the_clusters_clock(cli: Cli, filled: Filled) -> None:
    """The node's clock is an hour ahead of ours, so its last ten minutes are in our future."""
    now = time.time_ns() - T0 + 3_600_000_000_000
    filled.lines([(1, now - 1_200_000_000_000, "before"), (1, now - 30_000_000_000, "within")])
    filled.update(clock_ms=3_600_000)
    filled.end()
    for more in ((), ("-f",), ("-o", "ndjson")):
        done = cli("logs", "ml:train-1", "--since", "10m", *more)
        assert "within" in done.stdout and "before" not in done.stdout, more


def test_options_select_lines(cli: Cli, task: Filled) -> None:
    assert cli("logs", "ml:train-1", "--level", "error").stdout.startswith("ERROR")
    assert cli("logs", "ml:train-1", "--grep", "step 9.", "--exclude", "5").stdout.split() == [
        w for i in range(90, 100) if i != 95 for w in ("INFO", "step", str(i))
    ]
    assert cli("logs", "train-1", "-n", "ml", "--tail", "1", "--pod", "*-aa", "--timestamps").stdout == (
        "2026-01-01T00:00:00.000000099Z INFO step 99\n"
    )
    conditions = cli("logs", "ml:train-1", "--where", "step>=98", "--where", "step!=98", "--grep", "I", "--grep", "O")
    assert conditions.stdout == "", "`step 99` is taken for a field although it has no `=`"
    wrong = cli("logs", "ml:train-1", "--where", "step")
    assert wrong.returncode == 2 and "field op value" in wrong.stderr
    prefixed = cli("logs", "ml:train-1", "--tail", "1", "--pod", "*-aa", "--prefix", "always").stdout
    assert prefixed == "train-1-aa/main INFO step 99\n"


def test_one_run_of_a_container(cli: Cli, task: Filled) -> None:
    again = Source("train-1-aa", "uid-a", "main", "c4", "main", 1, "node-1")
    sid = task.store.add_source(task.lease, again)
    task.sources[sid] = again
    task.lines([(sid, 200, "once more")])

    def numbers(*options: str) -> list[str]:
        done = cli("logs", "ml:train-1", "--timestamps", *options)
        assert done.returncode == (3 if "-f" in options else 0), done.stderr  # the task has failed
        return [line.rpartition(" ")[2] for line in done.stdout.splitlines()]

    first = [str(i) for i in range(100)]
    # The whole previous run is shown, although it ended before the window.
    assert numbers("-p", "--since", "2026-01-01T00:00:01Z") == first
    assert numbers("--previous") == numbers("--run", "-2") == numbers("--run", "train-1-aa/main/0") == first
    assert numbers("-p", "-f", "--tail", "2") == first[-2:]
    assert numbers("--run", "-1", "--pod", "*-aa") == ["more"]


def test_roles_ranks_and_attempts(cli: Cli, task: Filled, tmp_path: Path) -> None:
    for rank in range(3):
        fields = {"role": "worker", "rank": str(rank), "attempt": str(rank % 2)}
        sid = task.add(Source(f"w-{rank}", f"uid-{rank}", "main", f"w{rank}", **fields))
        task.lines([(sid, 200 + rank, f"of {rank}")])

    def texts(*options: str) -> list[str]:
        done = cli("logs", "ml:train-1", *options)
        assert done.returncode == (3 if "-f" in options else 0), done.stderr  # the task has failed
        return done.stdout.splitlines()

    assert texts("--role", "worker") == ["of 0", "of 1", "of 2"]
    assert texts("--role", "w*", "--rank", "1-2") == ["of 1", "of 2"]
    assert texts("--rank", "0,2", "-f") == ["of 0", "of 2"]
    assert texts("--attempt", "1") == ["of 1"]
    assert texts("--role", "worker", "--attempt", "-1", "--tail", "1", "--prefix", "always") == ["w-2/main of 2"]
    for option, value in (("--rank", "x"), ("--rank", "3-1"), ("--attempt", "newest")):
        wrong = cli("logs", "ml:train-1", option, value)
        assert wrong.returncode == 2 and f"is no {option[2:]}" in wrong.stderr and "hint:" in wrong.stderr
    missing = cli("logs", "ml:train-1", "--role", "driver")
    assert missing.returncode == 1 and "no role 'driver'" in missing.stderr and "it has worker" in missing.stderr
    record = orjson.loads(texts("--rank", "1", "-o", "ndjson")[0])
    assert (record["role"], record["rank"], record["attempt"]) == ("worker", "1", "1")
    path = tmp_path / "log.csv"
    assert cli("export", "ml:train-1", str(path), "--role", "worker").returncode == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["role"], row["rank"], row["attempt"]) for row in rows] == [
        ("worker", "0", "0"),
        ("worker", "1", "1"),
        ("worker", "2", "0"),
    ]


def test_an_empty_result_is_explained(cli: Cli, task: Filled) -> None:
    done = cli("logs", "ml:train-1", "--since", "1m")
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "Job failed exit 3: no lines to show; it has 101 lines, --since all shows them",
        "101 lines, 00:00:00 to 00:00:00 UTC, 3 sources, complete",
    ]


def test_a_hint_to_a_longer_window_is_given_only_if_it_helps(cli: Cli, task: Filled) -> None:
    def hint(*options: str) -> str:
        return cli("logs", "ml:train-1", *options).stderr.splitlines()[0].partition("no lines to show")[2]

    assert hint("--since", "1m", "--grep", "step") == "; earlier lines match, --since all shows them"
    for filters in (
        ("--grep", "nowhere"),
        ("--where", "loss<3"),
        ("--grep", "step", "--until", "2020-01-01T00:00:00Z"),
    ):
        assert hint("--since", "all", *filters) == "; none of its 101 lines matches"
    for since in ("all", "2019-01-01T00:00:00Z"):
        first = "; the first of its 101 lines is of 2026-01-01T00:00:00Z"
        assert hint("--since", since, "--until", "2020-01-01T00:00:00Z") == first
    assert hint("--since", "1m", "--grep", "nowhere") == "; none of its 101 lines matches"
    assert hint("--tail", "0") == ""


def test_a_hint_is_neither_a_reason_to_fail_nor_to_wait(
    cli: Cli, filled: Filled, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.lines([(1, i, "a" * 60 + "!") for i in range(50)])
    for i in range(50):
        filled.lines([(1, i, "INFO b")])
    filled.end()
    slow = cli("logs", "ml:train-1", "--since", "1m", "--grep", "^(a|a)+$")
    assert (slow.returncode, slow.stdout) == (0, "")
    assert slow.stderr.startswith("Job complete exit 0: no lines to show\n"), slow.stderr

    monkeypatch.setattr("cortex_jupyter.cli.logs._HINT_S", -1.0)
    for name, value in cli.env.items():
        monkeypatch.setenv(name, value)
    assert main(["logs", "ml:train-1", "--since", "1m", "--level", "error"]) == 0
    assert "no lines to show; it has 100 lines, --since all searches them" in capfd.readouterr().err


def test_a_name_that_a_running_task_does_not_have_so_far_is_reported(cli: Cli, filled: Filled) -> None:
    for rank in range(3):
        fields = {"role": "worker", "rank": str(rank), "attempt": "0"}
        sid = filled.add(Source(f"w-{rank}", f"uid-{rank}", "main", f"w{rank}", **fields))
        filled.lines([(sid, rank, f"of {rank}")])
    for option, value, names in (
        ("role", "workr", "it has worker"),
        ("rank", "7", "its ranks are 0, 1, 2"),
        ("attempt", "5", "its attempts are 0"),
        ("pod", "w-9", "it has train-1-aa, train-1-bb, w-0, w-1, w-2"),
        ("container", "nginx", "it has main, prepare"),
        ("run", "4", "its containers have the runs 0 to 1"),
    ):
        done = cli("logs", "ml:train-1", f"--{option}", value)
        assert done.returncode == 0 and done.stdout == ""
        assert f": no lines to show; the task has no {option} '{value}' so far: {names}\n" in done.stderr, done.stderr
        assert "--since" not in done.stderr
    assert cli("logs", "ml:train-1", "--role", "worker,workr", "--since", "all").stdout == "of 0\nof 1\nof 2\n"
    assert "--since all shows them" in cli("logs", "ml:train-1", "--role", "worker", "--since", "1m").stderr
    process = cli.start("logs", "ml:train-1", "--role", "workr", "-f")
    assert process.stderr is not None
    assert any("the task has no role 'workr' so far: it has worker" in line for line in process.stderr)
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["logs", "ml:train-9"], 1, "error: there is no kubeconfig at "),
        (["logs", "ml:train-1", "--since", "soon"], 2, "error: since='soon' is no duration and no time\n\nhint: write"),
        (
            ["logs", "ml:train-1", "--where", "loss<<3"],
            2,
            "error: where='loss<<3' is no condition on a field\n\nhint: ",
        ),
        (["logs", "ml:train-1", "--nope"], 2, "error: unrecognized arguments: --nope\n\nhint: "),
        (["logs", "ml:train-1", "--container", "nginx"], 1, "error: the task has no container 'nginx'\n\nhint: it has"),
        (
            ["logs", "ml:train-1", "--run", "7"],
            1,
            "error: the task has no run '7'\n\nhint: its containers have the runs 0 to 1",
        ),
        (["logs", "ml:train-1", "--previous"], 1, "error: the task has no run '-2'"),
        (["logs", "ml:train-1", "-p", "--run", "0"], 2, "error: both --previous and --run are given"),
        (["logs", "ml:train-1", "--run", "first"], 2, "error: run='first' is no run\n\nhint: run=0 is the first run"),
        (["logs", "ml:train-1", "-f", "-o", "json"], 2, "error: -o json does not work with -f: its one document"),
        (["logs"], 2, "error: no task is given"),
        (["export", "ml:train-1", "x.doc"], 2, "error: cannot tell the format from the name 'x.doc'"),
        (["tasks"], 1, "error: there is no kubeconfig"),
        ([], 2, "error: the following arguments are required: COMMAND"),
        (["nothing"], 2, "error: argument COMMAND: invalid choice"),
    ],
)
def test_an_error_has_a_message_and_a_hint(
    cli: Cli, task: Filled, arguments: list[str], code: int, message: str
) -> None:
    done = cli(*arguments)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr and "hint: " in done.stderr


def test_a_file_that_is_no_store_is_an_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "recordings.sqlite").write_text("not a database, but long enough to be read as one" * 10)
    done = cli("logs", "ml:train-1")
    assert done.returncode == 1 and "cannot be used" in done.stderr and "CORTEX_STORE" in done.stderr


def test_a_closed_pipe_is_no_error(cli: Cli, filled: Filled) -> None:
    filled.lines([(1, i, f"line {i} {'x' * 200}") for i in range(20_000)]).end()
    for more, unbuffered in (([], ""), (["-f"], ""), (["-f"], "1")):
        cli.env["PYTHONUNBUFFERED"] = unbuffered
        process = cli.start("logs", "ml:train-1", *more)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("line 0")
        process.stdout.close()
        assert process.wait(120) == 141
        assert "Traceback" not in (said := process.stderr.read()) and "rror" not in said
        process.stderr.close()


def on_terminal(cli: Cli, *arguments: str, **env: str) -> bytes:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments), env=cli.env | {"TERM": "xterm"} | env, stdout=child, stderr=child
    )
    os.close(child)
    seen = b""
    try:
        while piece := os.read(parent, 65536):
            seen += piece
    except OSError:  # Linux raises this when the terminal has closed
        pass
    process.wait(120)
    os.close(parent)
    return seen


def test_a_terminal_gets_colours_and_no_other_escape_codes(cli: Cli, task: Filled) -> None:
    seen = on_terminal(cli, "logs", "ml:train-1", "--tail", "2")
    first, second, *_ = seen.splitlines()
    assert first.endswith(b"mtrain-1-aa/main \x1b[0mINFO step 99")
    assert second.endswith(b"mtrain-1-bb/main \x1b[0mERROR \x1b[31mred\x1b[0m ") and b"title" not in seen
    plain = on_terminal(cli, "logs", "ml:train-1", "--tail", "2", NO_COLOR="1")
    assert plain.startswith(b"train-1-aa/main INFO step 99\r\n")


def test_spreadsheet_option_disarms_formulas_in_csv(cli: Cli, filled: Filled, tmp_path: Path) -> None:
    texts = ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "loss=1", "", "'=1"]
    filled.lines([(1, i, text) for i, text in enumerate(texts)]).end()

    def written(name: str, *options: str) -> list[dict[str, str]]:
        done = cli("export", "ml:train-1", str(tmp_path / name), *options)
        assert done.returncode == 0, done.stderr
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    assert [row["text"] for row in written("as-it-is.csv")] == texts
    safe = [row["text"] for row in written("safe.csv", "--spreadsheet")]
    assert safe == [f"'{text}" if i < 7 else text for i, text in enumerate(texts)]
    refused = cli("export", "ml:train-1", str(tmp_path / "x.txt"), "--spreadsheet")
    assert refused.returncode == 2 and "--spreadsheet works with CSV only" in refused.stderr
    sql = ("sql", "-o", "csv", "select seq, text from logs order by seq", "ml:train-1")
    assert next(row["text"] for row in csv.DictReader(io.StringIO(cli(*sql).stdout, newline=""))) == "=1+2"
    asked = [row["text"] for row in csv.DictReader(io.StringIO(cli(*sql, "--spreadsheet").stdout, newline=""))]
    assert asked[:5] == safe[:5] and asked[6:] == safe[6:]  # a pipe read as text loses "\r"
    assert "--spreadsheet works with CSV only" in cli("sql", "select 1", "ml:train-1", "--spreadsheet").stderr


def test_lists_and_structures_are_json_in_csv(cli: Cli, task: Filled) -> None:
    statement = (
        "select ['=1', null] as list, {'a': 1} as structure, null::int[] as nothing, map {'k': 2} as map, 'x' as text"
    )
    name = f"{task.ref.namespace}:{task.ref.name}"
    done = cli("sql", statement, name, "-o", "csv")
    assert done.returncode == 0, done.stderr
    [row] = csv.DictReader(io.StringIO(done.stdout, newline=""))
    assert row == {"list": '["=1",null]', "structure": '{"a":1}', "nothing": "", "map": '{"k":2}', "text": "x"}
    every = cli("sql", "select * from logs limit 3", name, "-o", "csv")
    assert every.returncode == 0 and len(list(csv.DictReader(io.StringIO(every.stdout, newline="")))) == 3


@pytest.mark.parametrize("name", ["x.ndjson", "x.jsonl.gz", "x.txt", "x.log.gz", "x.csv", "x.csv.gz", "x.parquet"])
def test_export(cli: Cli, task: Filled, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = cli("export", "ml:train-1", str(out / name), "--pod", "*-aa")
    assert done.returncode == 0 and done.stdout == "" and "101 lines" in done.stderr
    assert [p.name for p in out.iterdir()] == [name]
    data = (out / name).read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    kind = name.removesuffix(".gz").rpartition(".")[2]
    expected = [f"INFO step {i}" for i in range(100)]
    if kind == "parquet":
        assert pq.read_table(out / name)["text"].to_pylist() == expected
    elif kind == "csv":
        assert [row["text"] for row in csv.DictReader(data.decode().splitlines())] == expected
    elif kind in ("txt", "log"):
        assert data.decode().splitlines() == expected
    else:
        assert [orjson.loads(x)["text"] for x in data.splitlines()] == expected


def test_text_of_several_pods_is_exported_with_pod_and_time(cli: Cli, task: Filled, tmp_path: Path) -> None:
    done = cli("export", "ml:train-1", str(tmp_path / "all.txt"))
    assert done.returncode == 0, done.stderr
    page = orjson.loads(cli("logs", "ml:train-1", "-o", "json", "--since", "all").stdout)["records"]
    assert len({r["pod"] for r in page}) > 1
    containers = {r["container"] for r in page} | {"prepare"}
    assert (tmp_path / "all.txt").read_text().splitlines() == [
        f"[{r['pod']}/{r['container']}] {r['time']} {r['text']}" for r in page if r["container"] in containers
    ]


def test_a_failed_export_is_an_error(cli: Cli, task: Filled, tmp_path: Path) -> None:
    done = cli("export", "ml:train-1", str(tmp_path / "no" / "x.txt"))
    assert done.returncode == 2 and "cannot be written" in done.stderr


def test_doctor_without_a_cluster(cli: Cli, task: Filled) -> None:
    done = cli("doctor", "--timeout", "60")
    assert done.returncode == 1
    assert "✗ cluster: there is no kubeconfig" in done.stdout and "✓ store: sqlite://" in done.stdout
    limits = r"· store: limits: [1-9][\d.]* [MGT]B, and 30 days after a task's end; the next recording to leave ended"
    assert re.search(limits, done.stdout)
    assert "· store: lines are stored as written; CORTEX_MASK=1 masks secrets before lines are stored" in done.stdout
    assert "1 recording, " in done.stdout and "Jupyter Server extension" in done.stdout


def test_help_and_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("cortex-jupyter ")
    assert "--since" in cli("logs", "--help").stdout and "--store" in cli("record", "--help").stdout


def test_a_store_remembers_an_archive_after_the_first_success(cli: Cli, task: Filled, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for misspelt in (str(tmp_path / "file" / "archive"), "s4://bucket/archive"):
        assert cli("archive", "--to", misspelt).returncode == 1
    assert task.store.setting("archive") == ""
    assert cli("archive", "--to", str(tmp_path / "archive")).returncode == 0
    assert task.store.setting("archive") == str(tmp_path / "archive")
