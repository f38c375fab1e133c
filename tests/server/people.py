"""An identity provider for tests: the header says who asks, as a hub's cookie does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User


@dataclass
class HubUser(User):
    """As jupyterhub's own: what the Hub says of a user comes with it."""

    hub_user: dict[str, Any] = field(default_factory=dict)


class People(IdentityProvider):
    """Knows who comes by `X-User: NAME;GROUP;GROUP`, a browser by a cookie `user=NAME`."""

    def get_user(self, handler: Any) -> HubUser | None:
        name, *groups = handler.request.headers.get("X-User", handler.get_cookie("user", "")).split(";")
        return HubUser(name, hub_user={"name": name, "groups": groups}) if name else None


class Fails(IdentityProvider):
    """As Jupyter's own; whoever comes with `X-Fails` meets an error that quotes their token."""

    def get_user(self, handler: Any) -> Any:
        if handler.request.headers.get("X-Fails"):
            raise ValueError(handler.get_argument("token"))
        return super().get_user(handler)
