from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from graphclean.issues import LabelIssues, NoiseRate
from graphclean.report import render_report, write_report
from graphclean.types import InputError

PLAIN = ["alpha", "beta", "gamma"]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{ 日本 \x07\u202e",
]
VOID = {"meta", "link", "img", "br", "wbr", "input", "path", "circle", "use", "rect"}


class Page(HTMLParser):
    """What a browser would make of the page: tags with attributes, text, scripts, styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inside: list[str] = []
        self.text = self.svg_text = self.script = self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        here = self.inside[-1] if self.inside else ""
        if here in ("script", "style"):
            setattr(self, here, getattr(self, here) + data)
            return
        self.text += f" {data}"
        if here == "text":
            self.svg_text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def example(
    names: list[str] = PLAIN, nodes: int = 60, **meta: object
) -> tuple[LabelIssues, object]:
    rng = np.random.default_rng(5)
    given = rng.integers(0, len(names), nodes)
    other = (given + rng.integers(1, len(names), nodes)) % len(names)
    quality = np.round(rng.beta(3, 1, nodes), 3)
    edges = torch.from_numpy(rng.integers(0, nodes + 10, (2, 3 * nodes)))
    frame = pd.DataFrame(
        {
            "node": np.arange(nodes),
            "is_label_issue": quality < 0.5,
            "label_quality": quality,
            "mislabel_probability": 1 - quality,
            "given_label": [names[i] for i in given],
            "predicted_label": [names[i] for i in other],
            "suggested_label": [names[i] for i in other],
            "suggestion_confidence": rng.random(nodes),
            "degree": np.bincount(edges.flatten(), minlength=nodes + 10)[:nodes],
            f"evidence {names[0]}": rng.random(nodes),
            "note": [names[1]] * nodes,
        },
        index=[f"{names[0]}{i}" for i in range(nodes)],
    )
    classes = len(names)
    issues = LabelIssues(
        frame,
        tuple(names),
        NoiseRate(0.125, 0.11, 0.142),
        np.full((classes, classes), 0.1 / (classes - 1))
        + np.eye(classes) * (0.9 - 0.1 / (classes - 1)),
        {"detector": names[0], "params": {names[1]: 1}, "dataset": names[0], "seed": 7, **meta},
    )
    return issues, SimpleNamespace(edge_index=edges, num_nodes=nodes + 10)


@pytest.fixture(scope="module")
def source() -> str:
    issues, data = example(calibrated=True, transition_mixes_confusion=True)
    return render_report(issues, data, evaluation={"precision": 0.75, "ap": 0.5, "injected": 1234})


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_file_is_whole_and_loads_nothing(page: Page, source: str) -> None:
    assert source.startswith("<!doctype html>")
    assert page.inside == []
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "image", "audio"} & {
        tag for tag, _ in page.tags
    }
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("href", "xlink:href"):
            assert attributes.get(key, "#").startswith("#"), (tag, attributes)
        for value in attributes.values():
            assert "//" not in value
            assert re.findall(r"url\((?!#)", value) == []
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert len(source) < 2_000_000


def test_the_only_script_is_the_one_the_policy_names(page: Page) -> None:
    assert page.all("script") == [{}]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_names_change_the_text_and_nothing_else() -> None:
    def shape(names: list[str]) -> tuple[Page, list[tuple[str, list[str]]]]:
        issues, data = example(names)
        made = Page(render_report(issues, data, title=names[0], evaluation={names[1]: 0.5}))
        return made, [(tag, sorted(attributes)) for tag, attributes in made.tags]

    (hostile, hostile_shape), (_, plain_shape) = shape(HOSTILE), shape(PLAIN)
    assert hostile_shape == plain_shape
    for name in HOSTILE[:2]:
        assert name in hostile.text
    assert "<script>alert(1)</scr…" in hostile.svg_text
    assert "$\\frac{ 日本 \ufffd\ufffd" in hostile.svg_text
    assert re.search(rf"{re.escape(HOSTILE[0])}\d+: {re.escape(HOSTILE[1])}", hostile.text)
    labels = [svg["aria-label"] for svg in hostile.all("svg")]
    assert any(HOSTILE[1] in label for label in labels)


def test_every_picture_and_table_says_what_it_is(page: Page, source: str) -> None:
    svgs = page.all("svg")
    assert len(svgs) == 6 + 25
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 30 for svg in svgs)
    assert len(page.all("table")) == source.count("<caption>") == 3
    assert all(cell.get("scope") == "col" for cell in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in page.tags if tag == "h1"] == ["h1"]


def test_ids_are_unique_and_references_resolve(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set()
    for _, attributes in page.tags:
        wanted |= {
            attributes[key] for key in ("aria-labelledby", "for", "data-card") if key in attributes
        }
        wanted |= {link[1:] for link in [attributes.get("href", "")] if link}
        wanted |= set(re.findall(r"url\(#([^)]*)\)", attributes.get("clip-path", "")))
    assert wanted <= set(ids)
    assert len(wanted) > 25


def test_the_headline_numbers_are_those_of_the_frame(page: Page) -> None:
    frame = example()[0].frame
    flagged = frame[frame["label_quality"] < 0.5]
    expected = (1 - flagged["label_quality"]).sum()
    text = " ".join(page.text.split())
    assert f"Labelled nodes {len(frame)} 3 classes" in text
    assert "Estimated noise rate 12.5% 90% interval 11.0% to 14.2%" in text
    assert f"Flagged {len(flagged)} {len(flagged) / len(frame):.1%} of the labelled nodes" in text
    assert f"Expected precision {expected / len(flagged):.1%} about {expected:.0f} of" in text
    assert "Label issues in alpha" in text
    for fact in ("Detector alpha", "Params beta = 1", "Seed 7", "Calibrated true"):
        assert fact in text


def test_the_worst_nodes_come_first_with_their_evidence(page: Page) -> None:
    worst = example()[0].frame.sort_values(["label_quality", "node"]).head(25)
    cards = [card["aria-label"] for card in page.all("article")]
    assert cards == [f"Node {node_id}" for node_id in worst.index]
    first = worst.iloc[0]
    text = " ".join(page.text.split())
    card = text[text.index("Node by node") :]
    assert f"given G {first['given_label']} suggested S {first['suggested_label']}" in card
    assert f"Mislabel probability {first['mislabel_probability']:.3f}" in card
    assert f"Evidence alpha {first['evidence alpha']:.3f} Note beta" in card


def test_hop_evidence_is_named_in_words() -> None:
    issues, _ = example()
    columns = ("agreement_p0", "agreement_x0", "agreement_p1", "agreement_l2", "agreement_l0")
    columns += ("agreement_xs", "agreement_y", "agreement_r")
    frame = issues.frame.assign(**dict.fromkeys(columns, 0.25))
    made = render_report(LabelIssues(frame, tuple(PLAIN), issues.noise_rate), top=1)
    text = " ".join(Page(made).text.split())
    assert (
        "Support: own prediction 0.250 Support: features alone 0.250 "
        "Support: predictions 1 hop away 0.250 Support: labels 2 hops away 0.250 "
        "Agreement l0 0.250 "
        "Support: features alone, spread over the neighbourhood 0.250 "
        "Support: which labels stand next to which 0.250 Support: nodes that look alike 0.250"
    ) in text.replace("_ ", "_")
    assert "probability that one kind of evidence gives" in text


@pytest.mark.parametrize(("top", "cards"), [(0, 0), (1000, 60)])
def test_top_sets_the_number_of_nodes(top: int, cards: int) -> None:
    made = Page(render_report(*example(), top=top))
    assert len(made.all("article")) == cards
    assert [table["id"] for table in made.all("table") if "id" in table] == ["nodes"] * bool(cards)


def test_without_the_graph_there_are_no_drawings() -> None:
    made = Page(render_report(example()[0], top=4))
    assert len(made.all("article")) == 4
    assert [svg for svg in made.all("svg") if svg["class"] == "ego"] == []
    assert "Pass the graph" in made.text
    assert "homophily" not in made.text


def test_homophily_comes_from_the_evidence_or_else_from_the_graph() -> None:
    issues, data = example()
    assert "By local homophily" in Page(render_report(issues, data, top=0)).text
    frame = issues.frame.assign(neighbour_agreement=[np.nan, 0.0, 0.3, 1.0] * 15)
    made = Page(render_report(LabelIssues(frame, tuple(PLAIN), issues.noise_rate), top=0))
    figure = next(s["aria-label"] for s in made.all("svg") if "by-agreement" in s["class"])
    for row in ("none agree", "25 to 50%", "all agree", "no labelled neighbour"):
        assert re.search(rf"{row}: [^;]* of 15 flagged", figure)


def test_what_is_measured_is_told_from_what_is_estimated(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "Measured against injected noise ground truth known" in text
    assert "Precision 0.750 AP 0.500 Injected 1,234" in text
    assert "It is calibrated" in text
    assert "the classifier's own confusion" in text
    other = " ".join(Page(render_report(*example(), top=1)).text.split())
    assert "ground truth" not in other
    assert "It is not calibrated here" in other
    assert "(not calibrated)" in other
    assert "classifier's own confusion" not in other


@pytest.mark.parametrize("value", ["0.5", None, True, [1]])
def test_an_evaluation_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="evaluation: f1 = "):
        render_report(example()[0], evaluation={"f1": value})  # type: ignore[dict-item]


def test_equal_input_gives_equal_bytes_whatever_the_style(source: str) -> None:
    issues, data = example(calibrated=True, transition_mixes_confusion=True)
    scores = {"precision": 0.75, "ap": 0.5, "injected": 1234}
    with matplotlib.rc_context({"font.size": 23, "axes.facecolor": "red", "text.parse_math": True}):
        again = render_report(issues, data, evaluation=scores)
        assert matplotlib.rcParams["font.size"] == 23
    assert again == source


def test_clean_labels_in_the_graph_are_not_read(source: str) -> None:
    issues, data = example(calibrated=True, transition_mixes_confusion=True)
    poisoned = SimpleNamespace(
        **vars(data),
        y_clean=torch.zeros(70, dtype=torch.long),
        noise_mask=torch.ones(70, dtype=torch.bool),
    )
    scores = {"precision": 0.75, "ap": 0.5, "injected": 1234}
    assert render_report(issues, poisoned, evaluation=scores) == source


def test_many_classes_are_cut_to_those_that_matter() -> None:
    names = [f"class {i:02d}" for i in range(30)]
    issues, _ = example(names, nodes=90)
    made = Page(render_report(issues, top=0))
    assert "The 20 of 30 classes that are confused most" in " ".join(made.text.split())
    assert "classes with most expected errors" in made.text
    shown = issues.summary().per_class.nlargest(20, "expected_mislabelled")["class"]
    figure = next(s["aria-label"] for s in made.all("svg") if "by-class" in s["class"])
    assert re.findall(r"class \d\d", figure) == sorted(shown)


def test_no_labelled_node_and_no_transition_matrix() -> None:
    issues, data = example()
    empty = LabelIssues(issues.frame.iloc[:0], tuple(PLAIN), NoiseRate(0, 0, 1))
    text = Page(render_report(empty, data)).text
    assert "Nothing is flagged." in text
    assert "transition" not in text.lower()
    assert "Nothing recorded" in text


def test_a_graph_that_does_not_fit_is_refused() -> None:
    issues, data = example()
    with pytest.raises(InputError, match=r"data: 3 nodes\. The issues name node 59"):
        render_report(issues, SimpleNamespace(edge_index=data.edge_index, num_nodes=3))
    with pytest.raises(InputError, match=r"data: .*edge_index"):
        render_report(issues, SimpleNamespace(num_nodes=70))


def test_write_makes_the_folder_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issues, data = example()
    path = write_report(tmp_path / "new" / "report.html", issues, data, top=2, title="First")
    assert len(Page(path.read_text("utf-8")).all("article")) == 2

    def failing(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, issues, data, top=2, title="Second")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert "First" in path.read_text("utf-8")


def test_colours_have_contrast_in_light_and_dark(page: Page) -> None:
    def brightness(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, two: str) -> float:
        light, dark = sorted((brightness(one), brightness(two)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    palettes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", page.style, re.S)
    ]
    assert len(palettes) == 2
    for palette in palettes:
        for text in ("ink", "muted", "accent", "warn"):
            assert contrast(palette[text], palette["card"]) >= 4.5, text
            assert contrast(palette[text], palette["page"]) >= 4.5, text
        for dot in ("accent", "warn", "other1", "other2", "other3", "other4"):
            assert contrast(palette["on"], palette[dot]) >= 4.5, dot
        for text, ground in (("ink", "warn-page"), ("warn", "warn-page"), ("other2", "good-page")):
            assert contrast(palette[text], palette[ground]) >= 4.5, text
