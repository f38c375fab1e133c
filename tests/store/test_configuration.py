"""A wrong setting is found when a process starts, and the error names where it was set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cortex_jupyter
from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import settings as settings_check
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.configuration import TRAITS, setting_problems, unknown_variables

WRONG = {
    "CORTEX_STORE": "postgres://me:secret@host/db",
    "CORTEX_STORE_MAX_BYTES": "50 gigs",
    "CORTEX_STORE_MAX_AGE": "soon",
    "CORTEX_STORE_MAX_TASK_BYTES": "much",
    "CORTEX_ARCHIVE": "ftp://me:secret@host/runs",
    "CORTEX_MASK": "perhaps",
    "CORTEX_KINDS": "/nowhere/kinds.yaml",
    "CORTEX_NAMESPACE": "My Team",
    "CORTEX_TASK_LABEL": "my label",
    "CORTEX_LOG_LEVEL": "loud",
    "CORTEX_LOG_FORMAT": "xml",
    "CORTEX_AUDIT_LOG": "stdout",
    "CORTEX_DEMO_SECONDS": "long",
}
RIGHT = {
    "CORTEX_STORE": "valkeys://me@host:6380/1?replicas=1",
    "CORTEX_STORE_MAX_BYTES": "1.5 GiB",
    "CORTEX_STORE_MAX_AGE": "30d",
    "CORTEX_ARCHIVE": "relative/folder",
    "CORTEX_MASK": "Yes",
    "CORTEX_NAMESPACE": "ml",
    "CORTEX_TASK_LABEL": "example.org/task-id",
    "CORTEX_LOG_LEVEL": "INFO",
    "CORTEX_LOG_FORMAT": "json",
    "CORTEX_AUDIT_LOG": "/var/log/audit.log",
    "CORTEX_DEMO_SECONDS": "0.5",
    "CORTEX_CLUSTER": "any name",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, WRONG[name])
    (problem,) = setting_problems(environ={name: WRONG[name]})
    assert name in problem.message and problem.hint and "secret" not in problem.message
    for trait, variable in TRAITS.items():
        if variable == name:
            (problem,) = setting_problems({trait: WRONG[name]}, {})
            assert f"CortexJupyter.{trait}=" in problem.message


def test_right_and_empty_settings_are_no_problem() -> None:
    assert not setting_problems(dict.fromkeys(TRAITS, ""), RIGHT) and not setting_problems(
        environ=dict.fromkeys(WRONG, "")
    )


def test_a_command_and_a_recorder_do_not_start_with_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORTEX_LOG_LEVEL", "loud")
    assert run(["store", "show", "--store", f"sqlite://{tmp_path}/store.sqlite"]) == 2
    assert "CORTEX_LOG_LEVEL='loud' is no level" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", f"sqlite://{tmp_path}/store.sqlite"]
    done = subprocess.run(
        command, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and "CORTEX_LOG_LEVEL='loud' is no level" in done.stderr


def test_the_doctor_says_what_is_set_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CORTEX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("CORTEX_STORE_MAX_AGE", "30d")
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "very-secret")
    monkeypatch.setenv("CORTEX_LOG_LEVEL", "loud")
    monkeypatch.setenv("CORTEX_ARCHIV", "s3://logs")
    config = tmp_path / "jupyter_server_config.py"
    config.write_text("c.CortexJupyter.store_max_bytes = '50 gigs'\nc.CortexJupyter.store_max_age = '7d'\n")
    found = [*settings_check.judge(settings_check.read())]
    (told,) = (f for f in found if f.judged == "told" and f.details)
    assert set(told.details) == {
        "CortexJupyter.store_max_bytes=50 gigs",
        "CortexJupyter.store_max_age=7d",
        "CORTEX_LOG_LEVEL=loud",
        "CORTEX_STORE_PASSWORD=set",
    }
    bad = [f.text for f in found if f.judged == "bad"]
    assert bad == [
        "CORTEX_LOG_LEVEL='loud' is no level",
        f"CortexJupyter.store_max_bytes='50 gigs' is not a size (in {config})",
    ]
    assert [f"{f.text}: {f.todo}" for f in found if f.judged == "warn"] == [
        "CORTEX_ARCHIV is set, and is no setting: did you mean CORTEX_ARCHIVE?"
    ]
    assert settings_check.read().budget() == Budget(), "defaults are shown in place of a wrong value"
    config.write_text("c.CortexJupyter.store_max_age = '7d'\n")
    assert settings_check.read().budget() == Budget(max_age_s=7 * 86400.0)


def test_every_variable_that_the_package_reads_is_known() -> None:
    """Otherwise the doctor would say that it is no setting."""
    package = "".join(path.read_text() for path in Path(cortex_jupyter.__file__).parent.rglob("*.py"))
    names = set(re.findall(r'"(CORTEX_[A-Z_]+[A-Z])"', package))
    assert len(names) > 10 and unknown_variables(dict.fromkeys(names, "")) == {}
