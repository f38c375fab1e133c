"""A namespace of 1 000 pods, 300 Jobs and 2 000 events: every way in works there too."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import orjson
import pytest
from support.crowd import JOBS, MANY, PODS

if TYPE_CHECKING:
    import httpx
    from support.crowd import Crowd


def _raw(crowd: Crowd, encoding: str, **query: str) -> tuple[httpx.Response, bytes]:
    """Ask for pods with an `Accept-Encoding`; return the answer and its body as sent."""
    url, headers = crowd.kube.server + crowd.kube.path("pods", "", crowd.namespace), {"Accept-Encoding": encoding}
    with crowd.kube.client.stream("GET", url, params=query, headers=headers) as response:
        return response, b"".join(response.iter_raw())


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate", "deflate, gzip"])
def test_an_answer_of_more_than_128_kib_is_compressed_where_that_is_accepted(crowd: Crowd, encoding: str) -> None:
    response, body = _raw(crowd, encoding, limit="100")
    assert response.headers["Content-Encoding"] == "gzip" and response.headers["Vary"] == "Accept-Encoding"
    assert len(orjson.loads(gzip.decompress(body))["items"]) == 100


@pytest.mark.parametrize(("encoding", "limit"), [("identity", "100"), ("gzip;q=1.0", "100"), ("gzip", "2")])
def test_a_small_answer_or_a_client_that_does_not_ask_gets_it_as_it_is(crowd: Crowd, encoding: str, limit: str) -> None:
    response, body = _raw(crowd, encoding, limit=limit)
    assert "Content-Encoding" not in response.headers
    assert len(orjson.loads(body)["items"]) == int(limit)


def test_the_crowd_is_as_large_as_real_ones(crowd: Crowd) -> None:
    assert len(crowd.kube.list("jobs", crowd.namespace)["items"]) == JOBS
    pods = crowd.kube.list("pods", crowd.namespace)["items"]
    sizes = sorted(len(orjson.dumps(pod)) for pod in pods)
    assert len(pods) >= PODS and 12_000 < sizes[len(pods) // 2] < 19_000
    assert len(crowd.kube.list("pods", crowd.namespace, labelSelector=crowd.selector)["items"]) == MANY
