from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import pickle
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graphclean.issues import LabelIssues, NoiseRate, write_atomic
from graphclean.types import InputError

NAMES = ("a", "b", "c")
THIRDS = np.array([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 - 2 / 3]])


def make_frame(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "node": [0, 1, 2, 4, 5],
            "is_label_issue": [True, False, True, False, True],
            "label_quality": [0.2, 0.9, 0.2, 1.0, 0.1],
            "mislabel_probability": [0.75, 0.125, 0.5, 0.0, 1.0],
            "given_label": ["a", "b", "a", "b", "a"],
            "predicted_label": ["b", "b", "b", "b", "b"],
            "suggested_label": ["b", "b", "c", "b", "b"],
            "suggestion_confidence": [0.5, 0.5, 0.5, 0.5, 1.0],
            "degree": [1, 2, 3, 0, 9],
        },
        index=["007", "1e5", "x", "", "y,\n\"'"],
    )
    return frame.assign(**columns)


def make_issues(frame: pd.DataFrame | None = None, **changes: object) -> LabelIssues:
    parts = {
        "frame": make_frame() if frame is None else frame,
        "class_names": NAMES,
        "noise_rate": NoiseRate(0.4, 0.3, 0.5),
        "transition": THIRDS,
        "meta": {"detector": "d", "seed": 3, "calibrated": True},
    }
    return LabelIssues(**{**parts, **changes})  # type: ignore[arg-type]


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.data += data


def test_summary_is_what_one_counts_by_hand() -> None:
    summary = make_issues().summary()
    assert (summary.labelled, summary.issues, summary.calibrated) == (5, 3, True)
    assert summary.expected_mislabelled == 0.75 + 0.125 + 0.5 + 0.0 + 1.0
    assert summary.expected_real_issues == 2.25
    assert summary.expected_precision == 0.75
    classes = summary.per_class.set_index("class")
    assert classes.index.tolist() == ["a", "b", "c"]
    assert classes["given"].tolist() == [3, 2, 0]
    assert classes["issues"].tolist() == [3, 0, 0]
    assert classes["expected_mislabelled"].tolist() == [2.25, 0.125, 0.0]
    assert classes["mean_quality"].tolist()[:2] == pytest.approx([0.5 / 3, 0.95])
    assert np.isnan(classes["mean_quality"]["c"])
    assert summary.per_pair.to_dict("records") == [
        {"given": "a", "suggested": "b", "count": 2, "expected": 1.75},
        {"given": "a", "suggested": "c", "count": 1, "expected": 0.5},
    ]


def test_summary_as_dict_is_strict_json_and_as_text_is_a_table() -> None:
    summary = make_issues().summary()
    record = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert record["per_class"][2]["mean_quality"] is None
    assert record["noise_rate"] == {"value": 0.4, "low": 0.3, "high": 0.5, "level": 0.9}
    text = str(summary)
    assert "3 of 5 labelled nodes flagged (60.0%)" in text
    assert "40.0% (90% interval 30.0% to 50.0%)" in text
    assert "precision 75.0%" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("a "))
    assert row == ["a", "3", "3", "2.250", "0.167"]


def test_nothing_flagged_has_no_expected_precision() -> None:
    issues = make_issues(make_frame(is_label_issue=False))
    summary = issues.summary()
    assert summary.expected_precision is None
    assert summary.per_pair.empty
    assert "precision" not in str(summary)


def test_uncalibrated_is_said_and_is_the_default() -> None:
    assert "not calibrated" in str(make_issues(meta={}).summary())
    assert "not calibrated" not in str(make_issues().summary())


def test_no_labelled_node_at_all(tmp_path: Path) -> None:
    issues = make_issues(make_frame().iloc[:0])
    assert len(issues) == 0
    assert issues.summary().per_class["given"].tolist() == [0, 0, 0]
    assert LabelIssues.load(issues.save(tmp_path)).frame.dtypes.equals(issues.frame.dtypes)


def test_top_is_the_worst_first_and_ties_go_by_node() -> None:
    shuffled = make_frame().sample(frac=1.0, random_state=1)
    assert make_issues(shuffled).top(3)["node"].tolist() == [5, 0, 2]
    assert len(make_issues().top(100)) == 5
    assert make_issues().top(0).empty
    for k in (-1, 1.5, True):
        with pytest.raises(InputError, match=r"k: .*non-negative integer"):
            make_issues().top(k)  # type: ignore[arg-type]


def test_nothing_done_outside_changes_the_issues() -> None:
    frame, transition, meta = make_frame(), THIRDS.copy(), {"params": {"k": 1}}
    issues = make_issues(frame, transition=transition, meta=meta)
    before = issues.frame
    frame.loc["x", "label_quality"] = 0.99
    transition[0] = [0, 0, 1]
    meta["params"]["k"] = 2
    handed_out = issues.frame
    handed_out["degree"] = 77
    handed_out.loc["x", "label_quality"] = 0.99
    worst = issues.top(2)
    worst.loc[:, "degree"] = 77
    issues.meta["params"]["k"] = 3
    pd.testing.assert_frame_equal(issues.frame, before, check_exact=True)
    assert issues.meta == {"params": {"k": 1}}
    assert issues.transition is not None
    assert (issues.transition == THIRDS).all()
    with pytest.raises(ValueError, match="read-only"):
        issues.transition[0, 0] = 0.5
    for name in ("frame", "meta", "class_names"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(issues, name, None)


def test_replace_and_pickle_keep_every_part() -> None:
    issues = make_issues()
    for other in (
        dataclasses.replace(issues, meta={"seed": 4}),
        pickle.loads(pickle.dumps(issues)),
    ):
        pd.testing.assert_frame_equal(other.frame, issues.frame, check_exact=True)
        assert (other.transition == issues.transition).all()
    assert dataclasses.replace(issues, meta={"seed": 4}).meta == {"seed": 4}
    assert issues.meta["seed"] == 3


def test_dtypes_are_plain_whatever_comes_in() -> None:
    frame = make_frame(
        node=np.arange(5, dtype=np.int32),
        label_quality=np.full(5, 0.5, dtype=np.float32),
        mislabel_probability=[0, 1, 0, 1, 0],
        given_label=pd.Categorical(["a", "b", "a", "b", "a"]),
        suggested_label=np.array(["a"] * 5, dtype=object),
        hops=np.arange(5, dtype=np.uint8),
        share=[0.5, np.nan, 0.25, 0.0, 1.0],
    ).rename_axis("paper")
    kept = make_issues(frame).frame
    kinds = ["i", "b", "f", "f", "str", "str", "str", "f", "i", "i", "f"]
    assert kept.columns[-2:].tolist() == ["hops", "share"]
    assert kept.index.name == "node_id"
    for dtype, kind in zip(kept.dtypes, kinds, strict=True):
        assert dtype == {"i": "int64", "b": "bool", "f": "float64"}.get(kind, "str")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_quality": [0.1, 1.1, 0, 0, 0]}, r"'label_quality' of node '1e5' is .*1\.1"),
        ({"label_quality": [0.1, np.nan, 0, 0, 0]}, "'label_quality' of node '1e5' is .*nan"),
        ({"mislabel_probability": -0.1}, "'mislabel_probability' of node '007'"),
        ({"given_label": "d"}, "'given_label' of node '007' is 'd'.*class_names"),
        ({"predicted_label": 1}, "'predicted_label' is int64"),
        ({"suggested_label": ["a", None, "a", "a", "a"]}, "'suggested_label'.*missing"),
        ({"node": [0, 1, 1, 2, 3]}, "'node' of node 'x' is .*one row"),
        ({"node": [0.0, 1, 2, 3, 4]}, "'node' is float64"),
        ({"degree": -1}, "'degree' of node '007'"),
        ({"is_label_issue": 1}, "'is_label_issue' is int64"),
        ({"evidence": [{}, {}, {}, {}, {}]}, "'evidence' is object"),
        ({"node_id": 1}, "node_id is the index"),
    ],
)
def test_a_bad_column_is_named_with_its_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"frame: .*{message}"):
        make_issues(make_frame(**change))


def test_a_missing_column_or_a_bad_index_is_named() -> None:
    with pytest.raises(InputError, match="no column 'degree'"):
        make_issues(make_frame().drop(columns="degree"))
    for index in (["a", "a", "b", "c", "d"], [0.5, 1, 2, 3, 4], [("a", 1)] * 5):
        frame = make_frame()
        frame.index = pd.Index(index, tupleize_cols=False)
        with pytest.raises(InputError, match="index"):
            make_issues(frame)
    doubled = pd.concat([make_frame(), make_frame()[["degree"]]], axis=1)
    with pytest.raises(InputError, match="Name each column once"):
        make_issues(doubled)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("class_names", ("a", "b", "b"), "class_names.*distinct"),
        ("class_names", (0, 1, 2), "class_names.*strings"),
        ("transition", np.eye(2), r"transition: shape \(2, 2\).*\[3, 3\]"),
        ("transition", np.full((3, 3), 0.5), "transition: .*rows summing to one"),
        ("transition", [[2, -1, 0], [0, 1, 0], [0, 0, 1]], "not negative"),
        ("transition", np.full((3, 3), np.nan), "rows summing to one"),
        ("meta", {"x": {1, 2}}, "meta: .*JSON"),
        ("meta", {"x": float("nan")}, "meta: .*JSON"),
    ],
)
def test_a_bad_part_is_named(part: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_issues(**{part: value})


@pytest.mark.parametrize(
    "numbers", [(1.1, 0, 1), (0.1, -0.1, 1), (0.1, 0.2, 0.1), (0.1, 0, np.nan)]
)
def test_a_bad_noise_rate_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="noise_rate"):
        NoiseRate(*numbers)


@pytest.mark.parametrize("ids", [["007", "1e5", "x", "", 'y,\n"'], [2**62, -1, 0, 7, 8]])
def test_round_trip_is_exact(tmp_path: Path, ids: list[object]) -> None:
    frame = make_frame(
        label_quality=[0.1 + 0.2, 1 / 3, 5e-324, 1.0, np.nextafter(1, 0)],
        share=[np.nan, -0.0, 1e300, np.inf, 0.1],
        big=[2**63 - 1, -(2**63), 0, 1, 2],
        note=["=1+1", "NA", "", "ü\u2028", "1.0"],
        seen=[True, False, True, False, True],
    )
    frame.index = pd.Index(ids)
    names = ('q"uo,te', "line\nbreak", "ü", *NAMES)
    transition = np.random.default_rng(0).dirichlet(np.ones(6), size=6)
    meta = {"params": {"k": np.int64(3), "rates": np.array([0.1, 1 / 3])}, "list": (1, None)}
    issues = make_issues(frame, class_names=names, transition=transition, meta=meta)
    loaded = LabelIssues.load(issues.save(tmp_path / "deep" / "out"))
    pd.testing.assert_frame_equal(loaded.frame, issues.frame, check_exact=True)
    assert np.signbit(loaded.frame["share"].iloc[1])
    assert loaded.frame.index.tolist() == ids
    assert loaded.class_names == names
    assert loaded.noise_rate == issues.noise_rate
    assert loaded.transition is not None
    assert loaded.transition.tobytes() == transition.tobytes()
    assert loaded.meta == {"params": {"k": 3, "rates": [0.1, 1 / 3]}, "list": [1, None]}


def test_equal_issues_write_equal_bytes(tmp_path: Path) -> None:
    first, second = make_issues().save(tmp_path / "1"), make_issues().save(tmp_path / "2")
    third = LabelIssues.load(first).save(tmp_path / "3")
    names = ["issues.csv", "issues.parquet", "summary.json", "transition.csv"]
    assert sorted(path.name for path in first.iterdir()) == names
    for name in names:
        assert len({(folder / name).read_bytes() for folder in (first, second, third)}) == 1
    changed = make_issues(make_frame(degree=8)).save(tmp_path / "4")
    assert (changed / "issues.csv").read_bytes() != (first / "issues.csv").read_bytes()


def test_files_read_without_graphclean(tmp_path: Path) -> None:
    folder = make_issues().save(tmp_path)
    rows = list(csv.DictReader(io.StringIO((folder / "issues.csv").read_text(), newline="")))
    assert [row["node_id"] for row in rows] == make_frame().index.tolist()
    assert [float(row["mislabel_probability"]) for row in rows] == [0.75, 0.125, 0.5, 0.0, 1.0]
    assert pd.read_parquet(folder / "issues.parquet").index.tolist() == make_frame().index.tolist()
    table = pd.read_csv(folder / "transition.csv", index_col=0)
    assert table.columns.tolist() == table.index.tolist() == list(NAMES)
    record = json.loads((folder / "summary.json").read_text())
    assert (record["issues"], record["labelled"], record["meta"]["seed"]) == (3, 5, 3)


def test_a_second_save_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    make_issues().save(tmp_path)
    make_issues(transition=None).save(tmp_path)
    assert not (tmp_path / "transition.csv").exists()
    assert LabelIssues.load(tmp_path).transition is None


@pytest.mark.parametrize("missing", ["summary.json", "issues.parquet", "transition.csv"])
def test_load_names_the_missing_file(tmp_path: Path, missing: str) -> None:
    folder = make_issues().save(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"folder: .*no file {missing}"):
        LabelIssues.load(folder)


def test_load_refuses_what_is_damaged(tmp_path: Path) -> None:
    folder = make_issues().save(tmp_path / "out")
    parquet, summary = folder / "issues.parquet", folder / "summary.json"
    whole, text = parquet.read_bytes(), summary.read_text()

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=f"folder: .*{match}"):
            LabelIssues.load(folder)
        parquet.write_bytes(whole)
        summary.write_text(text)

    parquet.write_bytes(whole[: len(whole) // 2])
    refused("issues.parquet is not the file that summary.json describes")
    other = make_issues(make_frame(degree=8)).save(tmp_path / "other")
    parquet.write_bytes((other / "issues.parquet").read_bytes())
    refused("issues.parquet is not the file that summary.json describes")
    junk = b"PAR1 this is no table PAR1"
    parquet.write_bytes(junk)
    digest = hashlib.sha256(whole).hexdigest()
    summary.write_text(text.replace(digest, hashlib.sha256(junk).hexdigest()))
    refused("Write it again")
    for broken in (text[:-20], "[]", "{}", text.replace('"version": 1', '"version": 2')):
        summary.write_text(broken)
        refused("Write it again")
    record = json.loads(text)
    for key in ("class_names", "noise_rate", "meta", "sha256"):
        summary.write_text(json.dumps({k: v for k, v in record.items() if k != key}))
        refused(key)
    summary.write_text(json.dumps({**record, "class_names": ["a"]}))
    refused("class_names")
    assert len(LabelIssues.load(folder)) == 5
    with pytest.raises(InputError, match=r"no file summary\.json"):
        LabelIssues.load(tmp_path / "nowhere")


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "file"
    write_atomic(target, b"old")
    whole = getattr(Path, step)

    def failing(self: Path, *arguments: object) -> None:
        if step == "write_bytes":
            whole(self, b"ha")
        raise OSError("disk full")

    monkeypatch.setattr(Path, step, failing)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(target, b"new content")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert write_atomic(target, b"new content").read_bytes() == b"new content"


def test_notebook_tables_escape_what_they_show() -> None:
    evil = "<script>alert(1)</script>"
    frame = make_frame(given_label=evil, **{"<b>col": "</td><img src=x>"})
    frame.index = pd.Index([f"<i>{i}" for i in range(5)])
    issues = make_issues(frame, class_names=(evil, *NAMES), transition=None)
    for text in (issues._repr_html_(), issues.summary()._repr_html_()):
        page = Tags(text)
        assert not {"script", "img", "i"} & set(page.tags)
        assert evil in page.data
    assert "table" in Tags(issues._repr_html_()).tags


def test_terminal_text_shows_no_control_characters() -> None:
    name = "a\x1b[31m\n\u202eb"
    issues = make_issues(make_frame(given_label=name), class_names=(name, *NAMES), transition=None)
    text = str(issues.summary())
    assert not set("\x1b\u202e") & set(text)
    assert "a\ufffd[31m\ufffd\ufffdb" in text


def test_repr_is_one_line() -> None:
    assert repr(make_issues()) == (
        "LabelIssues(3 of 5 labelled nodes flagged, 40.0% (90% interval 30.0% to 50.0%))"
    )


def test_to_html_hands_over_to_the_report(tmp_path: Path) -> None:
    path = make_issues().to_html(tmp_path / "r.html", title="A title", top=2)
    page = Tags(path.read_text("utf-8"))
    assert page.tags.count("article") == 2
    assert "A title" in page.data
