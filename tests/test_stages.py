"""Stages tell their name and time to those who listen, and to nobody else."""

import pytest

from graphclean.stages import listen, stage


def test_nested_stages_reach_every_listener_in_the_order_they_end():
    outer, inner = [], []
    with stage("before"):
        pass
    with listen(lambda name, seconds: seconds is None or outer.append((name, seconds))):
        with (
            stage("a"),
            listen(lambda name, seconds: inner.append((name, seconds is None))),
            stage("b"),
        ):
            pass
        with stage("c"):
            pass
    with stage("after"):
        pass
    assert [name for name, _ in outer] == ["b", "a", "c"]
    assert inner == [("b", True), ("b", False)]
    assert all(seconds >= 0.0 for _, seconds in outer)
    assert dict(outer)["a"] >= dict(outer)["b"]


def test_a_stage_that_fails_is_not_reported():
    seen = []
    with listen(lambda name, seconds: seen.append((name, seconds is None))):
        with pytest.raises(ZeroDivisionError), stage("bad"):
            raise ZeroDivisionError
        with stage("good"):
            pass
    assert seen == [("bad", True), ("good", True), ("good", False)]
