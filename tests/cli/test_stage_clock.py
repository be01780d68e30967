"""The clock announces stages as they begin and adds up what they took."""

from graphclean.cli.stage_clock import StageClock


def test_nested_stages_are_indented_and_counted_once_in_the_total():
    said = []
    clock = StageClock(said.append)
    clock("read", None)
    clock("read", 1.5)
    clock("judge", None)
    clock("fit", None)
    clock("fit", 2.0)
    clock("score", None)
    clock("score", 0.5)
    clock("judge", 3.0)
    assert said == ["read", "judge", "  fit", "  score"]
    lines = clock.summary().splitlines()
    assert [line.split(" s  ") for line in lines[1:-1]] == [
        ["      1.5", "read"],
        ["      3.0", "judge"],
        ["      2.0", "  fit"],
        ["      0.5", "  score"],
    ]
    assert lines[-1].startswith("      4.5 s  in all")
    assert "peak memory" in lines[-1]
