from __future__ import annotations

from itertools import pairwise

import pytest
from detect_secrets.plugins.keyword import DENYLIST

from cortex_jupyter.parsing.masking import Mask, rules

K = "x4Qz9LmN2pRs7TvW8yBc3DfG5hJk6aEu0iOo1"  # not a real key
SECRETS = {
    "GitHub Token": f"cloning with ghp_{K[:36]}",
    "GitLab Token": f"using glpat-{K[:20]} now",
    "AWS Access Key": "key AKIAIOSFODNN7EXAMPLE",
    "Azure Storage Account access key": f"AccountKey={(K * 3)[:86]}==",
    "Basic Auth Credentials": "postgres://train:hunter2@db:5432/runs",
    "JSON Web Token": "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    "Slack Token": "xoxb-123456789012-abcdefghijklmnop",
    "Stripe Access Key": f"sk_live_{K[:24]}",
    "OpenAI Token": f"sk-{K[:20]}T3BlbkFJ{K[:20]}",
    "PyPI Token": f"pypi-AgEIcHlwaS5vcmc{(K * 2)[:70]}",
    "SendGrid API Key": f"SG.{K[:22]}.{(K * 2)[:43]}",
    "Twilio API Key": "AC0123456789abcdef0123456789abcdef",
    "Telegram Bot Token": f"1234567890:AA{K[:33]}",
    "Square OAuth Secret": f"sq0csp-{(K * 2)[:43]}",
    "Mailchimp Access Key": "0123456789abcdef0123456789abcdef-us12",
    "Artifactory Credentials": f'"AKC{K[:12]}"',
    "Private Key": "-----BEGIN RSA PRIVATE KEY-----",
    "Authorization": f"Authorization: Bearer {K}",
    "Secret Keyword": "DB_PASSWORD=correct-horse",
    "E-mail": "by ann.lee+x@mail.example.org",
}


@pytest.mark.parametrize(("kind", "line"), SECRETS.items(), ids=SECRETS)
def test_only_the_secret_is_masked_and_counted(kind: str, line: str) -> None:
    mask = Mask()
    got = mask(f"12:00 {line} step=5")
    assert got.startswith("12:00 ") and got.endswith(" step=5") and "[masked]" in got
    assert mask.counts == {kind: 1}
    words = ("hunter2", "correct-horse", "ann.lee", K[:12], "IOSFODNN7", "eyJzdW", "PRIVATE", "0123456789abcdef")
    assert not any(word in got for word in words)
    assert Mask()(got) == got, "masking a masked line changes it again"


@pytest.mark.parametrize(
    "line",
    [
        '{"password": "hunter22", "user": "ann"}',
        "api_key: 'abcd-efgh'",
        "HF_TOKEN=hf_abcdefgh",
        "env: AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI",
        "MYSQL_PWD=secret99 started",
        "curl -H 'Authorization: Basic dXNlcjpwYXNzd29yZA=='",
    ],
)
def test_a_named_secret_is_masked_as_logs_write_it(line: str) -> None:
    got = Mask()(line)
    assert "[masked]" in got and not any(s in got for s in ("hunter22", "abcd", "hf_a", "wJal", "secret99", "dXNl"))
    assert got.count('"') == line.count('"') and got.count("'") == line.count("'")


@pytest.mark.parametrize(
    "line",
    [
        "INFO tokens=1234 tokens/s: 950.5 loss=0.3",
        "tokens: 12000",
        "max_tokens=4096",
        "step 5 token 17 of 90",
        "keyboard: qwerty-layout",
        "password: None",
        "2026-01-01 10:00:00 INFO trainer: epoch 3",
        "train-1-x7k2p ended: exit 0",
        "decorated with @property",
        "commit 1f3a9c2b77",
        "http://example.org:8080/path?x=1",
        "Bearer of news",
        "key=3",
        "[rank3]: AC step",
    ],
)
def test_other_lines_stay_unchanged(line: str) -> None:
    mask = Mask()
    assert mask(line) == line and not mask.counts


def test_the_lines_of_a_key_are_masked() -> None:
    body = ("MIIEpAIBAAKCAQEA" + K * 2)[:64]
    assert Mask().each(["-----BEGIN PRIVATE KEY-----", body, "-----END PRIVATE KEY-----"])[:2] == [
        "[masked]",
        "[masked]",
    ]


def test_a_secret_across_a_cut_of_a_long_line_is_masked() -> None:
    for start in range(900, 1100):
        for line in (
            "x" * start + " ghp_" + K[:36] + " end",
            "word " * (start // 5) + "password: correct-horse " + "end " * 300,
        ):
            got = Mask()(line)
            assert "ghp_" not in got and "correct" not in got and Mask()(got) == got


def test_lines_are_masked_independently_of_each_other() -> None:
    lines = ["plain", *SECRETS.values(), "tokens=5", "A" * 64, *(s + " " + t for s, t in pairwise(SECRETS.values()))]
    together = Mask()
    assert together.each(lines) == [Mask()(line) for line in lines]
    assert together.each(together.each(lines)) == together.each(lines)


@pytest.mark.parametrize("word", DENYLIST)
def test_every_secret_name_of_the_library_is_masked(word: str) -> None:
    for line in (f"{word.replace('_?', '_')}=correct-horse", f"my.{word.replace('_?', '').upper()} : 'correct-horse'"):
        assert "[masked]" in Mask()(line)


def test_long_lines_are_masked_quickly_by_the_rules_of_the_library() -> None:
    assert len(rules()) > 25
    for line in (
        "a" * 1_000_000,
        "key=" * 100_000,
        "@" * 200_000,
        "token" * 50_000,
        "a@" * 100_000,
        "://" * 100_000,
        "a.b-" * 50_000 + "@",
    ):
        Mask()(line)
