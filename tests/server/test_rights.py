"""Permissions while the Hub or the cluster does not answer: each is asked, whatever the state of the other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from server.people import HubUser
from tornado.web import HTTPError

from cortex_jupyter.errors import ClusterUnreachable, CortexError, NotAllowed
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader import permissions
from cortex_jupyter.reader.permissions import PermissionWatch
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.service import RequestPermissions, Service

TASKS = [TaskRef("ml", "job", "a"), TaskRef("ml", "job", "b")]


class Hub:
    """Imitates `jupyterhub.services.auth.HubOAuth`. `None` means that the user has signed out."""

    access_scopes = ("access:services!service=logs",)

    def __init__(self) -> None:
        self.says: Any = {"name": "alice", "groups": ["vision"]}

    def get_token(self, _: object) -> str:
        return "a token"

    def get_session_id(self, _: object) -> str:
        return "a session"

    async def user_for_token(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def check_scopes(self, *_: Any) -> bool:
        return True


class HubsUser(HubUser):
    """A user made of the Hub's description, like that of jupyterhub."""

    def __init__(self, says: dict[str, Any]) -> None:
        super().__init__(says["name"], hub_user=says)


class Cluster:
    """Imitates the permissions of Kubernetes, and its absence."""

    def __init__(self) -> None:
        self.allowed = {"vision"}
        self.away: Exception | None = None

    async def allow(self, _: str, person: Any) -> None:
        if self.away:
            raise self.away
        if not self.allowed & {*person.groups}:
            raise NotAllowed(f"user {person.name!r} may not read")

    async def check(self, *_: Any) -> None:
        pass

    async def refresh(self) -> None:
        pass


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def read(hub: Hub, cluster: Cluster) -> PermissionWatch:
    service = Service(CortexJupyter(access_for="user"))
    service._recordings = cluster  # type: ignore[assignment]
    identity = SimpleNamespace(hub_auth=hub)
    handler: Any = SimpleNamespace(identity_provider=identity, current_user=HubsUser(hub.says))
    return PermissionWatch(RequestPermissions(service, handler))


def codes(lost: list[CortexError | None]) -> list[str]:
    return [error.code if error else "" for error in lost]


async def test_an_absent_hub_does_not_prolong_permissions(hub: Hub, cluster: Cluster, read: PermissionWatch) -> None:
    hub.says = HTTPError(502, "the Hub does not answer")
    assert codes(await read.revoked(TASKS)) == ["", ""], "an absent Hub revokes permissions"
    cluster.allowed.clear()
    assert codes(await read.revoked(TASKS)) == ["NotAllowed"] * 2


@pytest.mark.parametrize("away", [ClusterUnreachable("it does not answer"), None])
async def test_signing_out_ends_reading_whatever_kubernetes_says(
    hub: Hub, cluster: Cluster, read: PermissionWatch, away: Exception | None
) -> None:
    assert codes(await read.revoked(TASKS)) == ["", ""]
    hub.says, cluster.away = None, away
    assert codes(await read.revoked(TASKS)) == ["NotAllowed"] * 2


async def test_leaving_a_group_takes_effect_at_once(hub: Hub, read: PermissionWatch) -> None:
    hub.says = {"name": "alice", "groups": []}
    assert codes(await read.revoked(TASKS)) == ["NotAllowed"] * 2


@pytest.mark.parametrize("hub_is_away", [False, True])
async def test_reading_ends_when_kubernetes_is_silent_for_long(
    hub: Hub, cluster: Cluster, read: PermissionWatch, monkeypatch: pytest.MonkeyPatch, hub_is_away: bool
) -> None:
    cluster.away = ClusterUnreachable("it does not answer")
    if hub_is_away:
        hub.says = HTTPError(500)
    assert codes(await read.revoked(TASKS)) == ["", ""], (
        "permissions were revoked although the cluster did not answer for a short time only"
    )
    cluster.away = None
    assert codes(await read.revoked(TASKS)) == ["", ""]
    cluster.away = KeyError("what nobody has foreseen")
    assert codes(await read.revoked(TASKS)) == ["", ""]
    monkeypatch.setattr(permissions, "_UNCONFIRMED_S", 0)
    assert codes(await read.revoked(TASKS)) == ["ClusterUnreachable"] * 2
    cluster.away = None
    assert codes(await read.revoked(TASKS)) == ["", ""]
