"""Quotas of namespaces: who sets them, and that one namespace cannot evict the recordings of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.store.quotas import Quota, Quotas, read_quotas
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def command(store: Store, *words: str) -> int:
    return run(["store", words[0], "--store", store.url, *words[1:]])


def test_an_administrator_sets_and_lists_quotas(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(store, "set", "--namespace", "ml", "max-bytes=20GiB", "max-age=30d", "max-lines-per-s=5000") == 0
    assert command(store, "set", "--namespace", "*", "max-bytes=2GB") == 0
    assert read_quotas(store) == Quotas({"ml": Quota(20 << 30, 30 * 86400.0, 5000), "*": Quota(2_000_000_000)})
    out = capsys.readouterr().out
    assert "namespace ml    max-bytes=21474836480 max-age=30d max-lines-per-s=5000\n" in out
    assert "store set --namespace *`" in out, "it does not say who has changed them"
    assert command(store, "show", "-o", "json") == 0
    assert orjson.loads(capsys.readouterr().out)["namespaces"] == {
        "*": {"max-bytes": "2000000000"},
        "ml": {"max-bytes": "21474836480", "max-age": "30d", "max-lines-per-s": "5000"},
    }
    # One part changes, the others stay; a quota without parts is none.
    assert command(store, "set", "--namespace", "ml", "max-bytes=", "max-age=7d") == 0
    assert command(store, "set", "--namespace", "*", "max-bytes=") == 0
    assert read_quotas(store) == Quotas({"ml": Quota(None, 7 * 86400.0, 5000)})


@pytest.mark.parametrize(
    "words",
    [
        ("ml", "archive=s3://x/y"),
        ("ml", "max-lines-per-s=0"),
        ("ml", "max-lines-per-s=many"),
        ("ml", "max-bytes=much"),
        ("a/b", "max-age=3d"),
    ],
)
def test_a_wrong_quota_is_refused(store: Store, words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(store, "set", "--namespace", words[0], "max-age=1d", words[1]) == 2
    assert capsys.readouterr().err and not read_quotas(store)


def test_locked_quotas_are_changed_by_nobody(store: Store) -> None:
    command(store, "set", "--namespace", "ml", "max-age=7d")
    assert command(store, "lock") == 0 and command(store, "set", "--namespace", "ml", "max-age=1d") == 2
    assert read_quotas(store).of("ml").max_age_s == 7 * 86400


def test_a_recorder_restores_quotas_that_the_store_has_lost(store: Any) -> None:
    command(store, "set", "--namespace", "ml", "max-age=7d")
    known = Settings(store)
    known.look()
    if isinstance(store, SqliteStore):
        with store._file.writing() as db:
            db.execute("DELETE FROM setting")
    else:
        store._link.ask("FLUSHALL")
    assert not read_quotas(store)
    known.look()
    assert read_quotas(store) == known.quotas == Quotas({"ml": Quota(None, 7 * 86400.0)})
