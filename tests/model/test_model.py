"""The data model: everything that is written can be read back, and invalid texts are refused."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cortex_jupyter.errors import BadQuery, CursorNotHeld
from cortex_jupyter.model import (
    KINDS,
    Batch,
    Cursor,
    Source,
    TaskRef,
    encode_batch,
    notice,
    parse_rfc3339,
    rfc3339,
)

names = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,30}[a-z0-9])?", fullmatch=True)
kinds = st.sampled_from([k for k in KINDS if k != "selector"])
times = st.integers(0, (1 << 63) - 1)
#: Every text that a line can have after its bytes are decoded with backslashreplace: no surrogates, no line feed.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
HOSTILE = [
    "<script>alert(1)</script>",
    "50%\r100%",
    "\x1b[31mred\x1b[0m",
    "\0",
    "\u2028\u2029",
    r"\xff\xfe",
    "",
    "\x85",
]

# ------------------------------------------------------------------------ TaskRef


@given(names, kinds, names)
def test_a_reference_is_parsed_as_it_is_written(namespace: str, kind: str, name: str) -> None:
    ref = TaskRef(namespace, kind, name)
    assert TaskRef.parse(ref.key, namespace="elsewhere") == ref
    assert TaskRef.parse(str(ref)) == ref
    assert TaskRef.parse(f"  {kind.upper()}/{name} ", namespace) == ref


@given(names, names)
def test_a_bare_name_has_no_kind(namespace: str, name: str) -> None:
    assert TaskRef.parse(name, namespace) == TaskRef(namespace, "", name)
    assert TaskRef.parse(f"{namespace}:{name}").key == f"{namespace}:{name}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("po/x", "pod"),
        ("deploy/x", "deployment"),
        ("sts/x", "statefulset"),
        ("ds/x", "daemonset"),
        ("rs/x", "replicaset"),
        ("cj/x", "cronjob"),
        ("jobs/x", "job"),
        ("Deployments/x", "deployment"),
        ("cronjobs/x", "cronjob"),
    ],
)
def test_short_names_of_kinds(text: str, kind: str) -> None:
    assert TaskRef.parse(text) == TaskRef("default", kind, "x")


@pytest.mark.parametrize("text", ["-l app=x", "-l=app=x", "selector/app=x", "  -l  app=x"])
@pytest.mark.parametrize("space", ["", "ml:"])
def test_a_selector(text: str, space: str) -> None:
    ref = TaskRef.parse(space + text)
    assert ref == TaskRef("ml" if space else "default", "selector", "app=x")
    assert TaskRef.parse(ref.key) == ref


def test_a_selector_may_hold_slashes_and_lists() -> None:
    ref = TaskRef.parse("ml:-l app.kubernetes.io/name in (a, b),!old")
    assert ref.name == "app.kubernetes.io/name in (a, b),!old"
    assert TaskRef.parse(ref.key) == ref


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":", "a:", ":a", "job/", "/a", "job/a/b", "A", "a_b", "-a", "a-", "a:b:c", "ml:/x", "é"),
        *("x" * 254, "a b", "ML:a", "job/Train", "../../etc", "a\0", "a\nb"),
        *("-l", "-l ", "-l=", "selector/", "ml:-l ", "ml: selector/ "),
    ],
)
def test_a_text_that_names_no_task_is_a_bad_query(text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        TaskRef.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "corrected"),
    [("pytorchjobs/SMALL", "pytorchjobs/small"), ("ML:Train-1", "ml:train-1"), ("Pod/A", "pod/a")],
)
def test_capital_letters_in_a_name_are_named_as_the_reason(text: str, corrected: str) -> None:
    with pytest.raises(BadQuery, match="names in Kubernetes are lower-case") as caught:
        TaskRef.parse(text)
    assert caught.value.hint == f"did you mean {corrected}?"


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_bad_query(text: str) -> None:
    try:
        ref = TaskRef.parse(text)
    except BadQuery:
        return
    assert TaskRef.parse(ref.key) == ref


def test_sources_are_equal_by_pod_container_and_container_id() -> None:
    source = Source("p", "uid", "main", "containerd://1", "main", 0, "n1")
    # The other fields of a Pod may change: an annotation makes a main container a sidecar.
    assert source == Source("p", "uid", "main", "containerd://1", "sidecar", 0, "n1")
    assert hash(source) == hash(Source("p", "uid", "main", "containerd://1", "sidecar", 0, "n1"))
    assert source != Source("p", "uid", "main", "containerd://2", "main", 1, "n1")
    assert Source.from_dict(source.as_dict()).as_dict() == source.as_dict()
    assert Source.from_dict(source.as_dict() | {"of_a_newer_version": 1}) == source


def test_a_source_without_a_role_is_stored_and_sent_as_before_there_were_roles() -> None:
    names = ["pod", "pod_uid", "container", "container_id", "kind", "run", "node", "part"]
    plain = Source("p", "uid", "main", "c1", "main", 0, "n1")
    assert list(plain.as_dict()) == names and list(plain.public) == ["pod", "container", "kind", "run", "node"]
    assert Source(**{name: value for name, value in plain.as_dict().items() if name in names}) == plain
    worker = replace(plain, role="worker", rank="2-3", attempt="0")
    assert worker == plain and hash(worker) == hash(plain) and worker.is_same_run(plain)
    restored = Source(**orjson.loads(orjson.dumps(worker.as_dict())))
    assert (restored.role, restored.rank, restored.attempt) == ("worker", "2-3", "0")
    data = encode_batch("d:job/a", 1, [1], [1], None, ["x"], {1: worker.public})
    assert Batch.decode(data).sources[1] == plain.public | {"role": "worker", "rank": "2-3", "attempt": "0"}
    assert replace(plain, rank="7").public == plain.public | {"rank": "7"}


# ------------------------------------------------------------------------ Cursor

numbers = st.integers(0, (1 << 63) - 2)


@given(numbers, numbers, st.none() | st.tuples(st.integers(0, 1 << 63), numbers), numbers)
def test_a_cursor_is_parsed_as_it_is_written(
    recording: int, seq: int, before: tuple[int, int] | None, epoch: int
) -> None:
    cursor = Cursor(recording, seq, before, epoch)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "-1", "1-2-3-4-5-6", "a-b", "0x1-2", "1.0-2", "1-" + "9" * 20])
def test_a_malformed_cursor_is_a_bad_query(text: str) -> None:
    with pytest.raises(BadQuery):
        Cursor.parse(text)


@pytest.mark.parametrize("seq", [(1 << 63) - 1, 1 << 63, 9_999_999_999_999_999_999])
def test_a_number_beyond_63_bits_is_a_bad_query(seq: int) -> None:
    with pytest.raises(BadQuery):
        Cursor.parse(f"1-{seq}")


def test_a_cursor_of_another_recording_is_refused() -> None:
    assert Cursor.parse("0").check(7) == Cursor(7, 0)
    assert Cursor(7, 3).check(7) == Cursor(7, 3)
    with pytest.raises(CursorNotHeld):
        Cursor(6, 3).check(7)


# ------------------------------------------------------------------------ batches

rows = st.lists(st.tuples(times, st.integers(1, 3), st.integers(0, 2), texts), min_size=1, max_size=20)


def batch_of(lines: list[tuple[int, int, int, str]], seq: int) -> Batch:
    columns: tuple[list[int], list[int], list[int], list[str]] = ([], [], [], [])
    for line in lines:
        for column, value in zip(columns, line, strict=True):
            column.append(value)  # type: ignore[arg-type]
    at, sids, streams, words = columns
    sources = {sid: {"pod": f"p{sid}"} for sid in sids}
    return Batch("ns:job/x", list(range(seq, seq + len(lines))), at, sids, streams, words, sources)


@given(rows, st.integers(1, 1 << 40))
@example([(0, 1, 0, text) for text in HOSTILE], 1)
def test_a_batch_is_decoded_as_it_is_encoded(lines: list[tuple[int, int, int, str]], seq: int) -> None:
    batch = batch_of(lines, seq)
    data = batch.encode()
    assert Batch.decode(data) == batch
    # The data is one `data:` line of an event stream, whatever the lines contain.
    assert b"\n" not in data and b"\r" not in data


@given(rows, st.data())
def test_a_part_keeps_its_numbers(lines: list[tuple[int, int, int, str]], data: st.DataObject) -> None:
    batch = batch_of(lines, 10)
    keep = data.draw(st.lists(st.sampled_from(range(len(lines))), unique=True, min_size=1).map(sorted))
    part = Batch.decode(batch.take(keep).encode())
    assert part.seqs == [10 + i for i in keep]
    assert part.texts == [lines[i][3] for i in keep]
    assert part.times == [lines[i][0] for i in keep]
    assert set(part.sources) == {lines[i][1] for i in keep}


def test_column_q_is_written_only_if_numbers_are_missing() -> None:
    batch = batch_of([(i, 1, 0, "") for i in range(5)], 1)
    assert b'"q"' not in batch.encode()
    assert b'"q"' not in batch.take([1, 2, 3]).encode()
    assert b'"q":[0,2]' in batch.take([1, 3]).encode()


def test_a_batch_without_streams_has_unknown_streams() -> None:
    assert Batch.decode(encode_batch("t", 1, [5, 6], [1, 1], None, ["a", "b"], {1: {}})).streams == [0, 0]


def test_a_notice_leaves_out_unknown_fields() -> None:
    entry = notice("t", 3, 99, "gap", "lines are missing", reason="rotated", lines=None)
    assert (entry.seq, entry.last, entry.t_min, entry.t_max) == (3, 3, 99, 99)
    assert b'lines":' not in entry.data and b'"reason":"rotated"' in entry.data


# ------------------------------------------------------------------------ times


@given(times)
@example(0)
@example(1)
@example((1 << 63) - 1)
def test_times_keep_all_nine_digits(ns: int) -> None:
    assert parse_rfc3339(rfc3339(ns)) == ns


@given(times, st.integers(-14 * 60, 14 * 60))
def test_an_offset_from_utc_is_subtracted(ns: int, minutes: int) -> None:
    local = ns + minutes * 60_000_000_000
    assume(local >= 0)
    sign, (hours, rest) = "+-"[minutes < 0], divmod(abs(minutes), 60)
    assert parse_rfc3339(rfc3339(local)[:-1] + f"{sign}{hours:02}:{rest:02}") == ns


@pytest.mark.parametrize("text", ["", "now", "2023-11-14", "2023-13-01T00:00:00Z", "2023-11-14T25:00:00Z", "12:00"])
def test_an_invalid_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)
