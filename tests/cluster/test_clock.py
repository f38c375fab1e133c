"""The offset of the server's clock: bounds from a header that is cut to seconds."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from cortex_jupyter.cluster.session import Clock


@given(
    st.floats(-4000, 4000),
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=20),
)
def test_the_true_offset_lies_within_the_bounds(offset: float, answers: list[tuple[float, float, float]]) -> None:
    clock, now = Clock(), 1_700_000_000.0
    for wait, there, back in answers:
        now += wait
        clock.update(formatdate(int(now + there + offset), usegmt=True), now, now + there + back)
        now += there + back
        assert clock._low - 1e-6 <= offset <= clock._high + 1e-6
        assert abs(clock.offset - offset) < 1.1


def test_a_clock_that_was_set_is_followed_and_invalid_dates_are_ignored() -> None:
    clock = Clock()
    clock.update(formatdate(1000, usegmt=True), 1000.0, 1000.1)
    assert abs(clock.offset) < 1
    clock.update(formatdate(4600, usegmt=True), 1001.0, 1001.1)
    assert abs(clock.offset - 3600) < 2
    for nonsense in (None, "", "yesterday"):
        clock.update(nonsense, 1002.0, 1002.1)
    assert abs(clock.offset - 3600) < 2
