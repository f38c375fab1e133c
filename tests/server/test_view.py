"""The viewer's own page: access, content security policy, and error pages."""

from __future__ import annotations

import asyncio
import html
import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cortex_jupyter.server import view

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server


def _config(page: httpx.Response) -> dict[str, Any]:
    scripts = re.findall(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', page.text)
    config: dict[str, Any] = json.loads(scripts[0])
    return config


def test_the_page_names_its_tasks_and_runs_only_the_servers_script(server: Server, completed: FakeRecorder) -> None:
    page = server.get("cortex/view", task=f"job/{completed.ref.name}", grep="</script><b>")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self' blob:", "'self'")
    said = _config(page)
    assert said["cortexTasks"] == [completed.ref.key] and "token" not in said
    assert "<b>" not in page.text
    sources = re.findall(r'(?:src|href)="(\S+?)"', page.text)
    assert len(sources) == 3
    for source in [*sources, *said["cortexScripts"].values()]:
        part = httpx.get(httpx.URL(server.url).join(source), headers=server.headers)
        assert part.status_code == 200 and "immutable" in part.headers["cache-control"], source
        assert part.headers["content-type"] in ("text/javascript; charset=utf-8", "text/css; charset=utf-8")
        again = httpx.get(str(part.url), headers={**server.headers, "If-None-Match": part.headers["etag"]})
        assert again.status_code == 304 and not again.content


@pytest.mark.parametrize(
    ("task", "status", "code", "words"),
    [
        ("job/<b>x</b>", 400, "BadQuery", "<b>x</b>"),
        ("nothing-of-that-name", 502, "NoCluster", "kubeconfig"),
        ("", 400, "BadQuery", "task"),
    ],
)
def test_a_missing_task_is_an_error_page(server: Server, task: str, status: int, code: str, words: str) -> None:
    before = server.refused(code)
    page = server.get("cortex/view", task=task)
    assert server.refused(code) == before + 1
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert words in html.unescape(re.findall("<h1>(.*?)</h1>", page.text)[0]), page.text
    assert "<b>" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("window", "since", "until"),
    [
        ({"since": "yesterday"}, r"20\d\d-\d\d-\d\dT00:00:00\.0+Z", None),
        ({"since": "2026-01-31 10:00", "until": "10:20"}, r"2026-01-31T10:00:00\.0+Z", r"2026-01-31T10:20:00\.0+Z"),
        ({"until": "2026-01-31"}, "all", r"2026-01-31T23:59:59\.9+Z"),
        ({"since": "5m"}, "5m", None),
        ({}, None, None),
    ],
)
def test_the_page_gets_a_window_that_it_knows(
    server: Server, completed: FakeRecorder, window: dict[str, str], since: str | None, until: str | None
) -> None:
    page = server.get("cortex/view", task=completed.ref.key, **window)
    shown = _config(page)["cortexWindow"]
    for name, wanted in (("since", since), ("until", until)):
        assert name not in shown if wanted is None else re.fullmatch(wanted, shown[name])
    wrong = server.get("cortex/view", task=completed.ref.key, since="soon")
    assert wrong.status_code == 400 and "since='soon' is no duration" in html.unescape(wrong.text)


def test_an_anonymous_user_gets_the_login_page(server: Server, completed: FakeRecorder) -> None:
    page = httpx.get(server.url + "cortex/view", params={"task": completed.ref.key})
    assert page.status_code == 302 and "/login?next=" in page.headers["location"]
    assert httpx.get(server.url + "cortex/static/page.js").status_code == 403


def test_without_a_task_the_page_links_to_all_tasks(server: Server, completed: FakeRecorder) -> None:
    page = server.get("cortex/view", namespace=completed.ref.namespace)
    assert f'href="view?task={completed.ref.key.replace(":", "%3A")}"' in page.text
    assert server.get("cortex/static/loader.js").json()["error"]["code"] == "NotFound"


async def test_a_refusal_does_not_wait_long_for_the_namespaces_that_may_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page's script asks for them then."""
    monkeypatch.setattr(view, "_CHOICES_S", 0.01)
    service = SimpleNamespace(person=lambda _: None, app=SimpleNamespace(namespaces=[]))
    page: Any = SimpleNamespace(_shared=service, current_user=None, refused="")
    never: Any = SimpleNamespace(namespaces=lambda *_: asyncio.Event().wait())
    await view.ViewHandler._find_choices(page, never, "ml")
    assert page.refused == ""
