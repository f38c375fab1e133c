"""The kubelet's log files through `nodes/proxy`: the only way to read rotated lines, and whether a line is stderr."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import httpx
from support.kube import python_pod

from cortex_jupyter.recorder.text.lines import Splitter, parse, parse_cri

if TYPE_CHECKING:
    from conformance.conftest import Create, Specimens
    from conftest import Target

#: Writes lines of more than 16 KiB, and a line to stderr between the parts of one of them.
LONG = r"""
import os, time
os.write(1, b'short\n')
os.write(1, b'o' * 40000)
time.sleep(0.3)
os.write(2, b'STDERR\n')
time.sleep(0.3)
os.write(1, b'p' * 20000 + b'\n')
time.sleep(0.3)
for i in range(100):
    os.write(1, b'%c' % (97 + i % 26) * 100000)
os.write(1, b'\nend\n')
"""

ROOT = "/api/v1/nodes/node-1/proxy/logs/pods/"


def folder(pod: dict[str, Any], container: str = "main") -> str:
    """Return the folder of a container's logs."""
    meta = pod["metadata"]
    return f"{ROOT}{meta['namespace']}_{meta['name']}_{meta['uid']}/{container}/"


def links(target: Target, path: str) -> list[str]:
    """Return the links of a folder's page."""
    response = target.kube.request("GET", path)
    assert response.status_code == httpx.codes.OK
    assert response.headers["Content-Type"].startswith("text/html")
    return re.findall(r'<a href="([^"]+)">', response.text)


def test_folders_are_listed(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_ended("two")
    names = links(target, ROOT)
    assert f"default_{pod['metadata']['name']}_{pod['metadata']['uid']}/" in names
    assert {"main/", "aside/", "prepare/"} == set(links(target, folder(pod).removesuffix("main/")))
    assert links(target, folder(pod)) == ["0.log"]


def test_records_are_cri(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_ended("text")
    records = target.kube.request("GET", folder(pod) + "0.log").content.split(b"\n")[:-1]
    parsed = [re.fullmatch(rb"(\S+) (stdout|stderr) ([FP]) (.*)", r, re.DOTALL) for r in records]
    assert all(parsed)
    tail = [(m[2], m[3], len(m[4])) for m in parsed if m][-6:]
    # Records of 16384 bytes; a last line without newline is a P record without an F after it.
    assert [t for t in tail if t[0] == b"stdout"] == [
        (b"stdout", b"P", 16384),
        (b"stdout", b"P", 16384),
        (b"stdout", b"F", 40000 - 2 * 16384),
        (b"stdout", b"F", len("after stderr")),
        (b"stdout", b"P", len("no newline")),
    ]
    assert (b"stderr", b"F", len("to stderr")) in tail
    # containerd drops trailing zeros of the fraction; the log API pads them again.
    assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", m[1]) for m in parsed if m)


def test_missing_file_and_node(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_ended("text")
    assert target.kube.request("GET", folder(pod) + "7.log").status_code == httpx.codes.NOT_FOUND
    response = target.kube.request("GET", ROOT.replace("node-1", "node-9"))
    assert response.json()["message"] == 'nodes "node-9" not found'


def test_rotated_file_holds_lines_that_the_log_api_no_longer_serves(target: Target, specimens: Specimens) -> None:
    pod = target.kube.get("pods", specimens.names["rotating"])
    path = folder(pod)
    rotated = target.kube.wait_for(lambda: [n for n in links(target, path) if n != "0.log"], "rotation", timeout=90)
    assert all(re.fullmatch(r"0\.log\.\d{8}-\d{6}(\.gz)?", name) for name in rotated)
    data = target.kube.request("GET", path + min(rotated)).content
    data = gzip.decompress(data) if rotated[0].endswith(".gz") else data
    numbers = [int(line.split(b" ", 3)[3][:8]) for line in data.split(b"\n")[:-1]]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 100_000


def test_a_file_parses_to_the_lines_that_the_log_api_serves(target: Target, create: Create) -> None:
    name = create(python_pod("long", LONG))
    pod = target.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    file = parse_cri(target.kube.request("GET", folder(pod) + "0.log").content)
    splitter = Splitter()
    answer = splitter.feed(target.kube.logs(name, timestamps="true"))
    served = parse(answer + splitter.rest())
    assert (file.times, file.texts) == (served.times, served.texts)
    assert served.texts[0] == "short" and served.texts[-1] == "end" and not served.errors
    assert served.texts[1].lstrip("o") == "STDERR" and len(served.texts[1]) % 16384 == 6
    assert [len(text) for text in served.texts[3:-1]] == [4 << 20, 4 << 20, 10_000_000 - (8 << 20)]
