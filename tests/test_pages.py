"""Pages: what every one of them has, and what a chart's numbers become."""

import sys

import pytest

from exports import pages
from exports.pages import environment, render
from exports.pages.charts import BOTTOM, HEIGHT, LEFT, TOP, bar_chart, number_text, seconds_text
from runtime.errors import MissingDependency

TEXT = "<script>alert(\"1\")</script> & 'more'"


def drawn(source: str, **values: object) -> str:
    return environment().from_string(source).render(values)


def test_values_are_text_in_every_template_and_macro():
    parts = '{% import "parts.html.j2" as parts %}'
    for source in (
        "<p>{{ text }}</p>",
        f"{parts}{{{{ parts.shout(text) }}}}",
        f"{parts}{{{{ parts.cards([(text, text, true, text)]) }}}}",
        f"{parts}{{{{ parts.facts({{text: text}}) }}}}",
    ):
        page = drawn(source, text=TEXT)
        assert "<script" not in page and "&lt;script&gt;" in page and "&#34;1&#34;" in page


def test_a_charts_texts_are_text():
    chart = bar_chart(300, [[1.0, 2.0]], {0.0: TEXT})
    page = drawn(
        '{% from "parts.html.j2" import bars %}{{ bars(chart, about) }}', chart=chart, about=TEXT
    )
    assert "<script" not in page and page.count("&lt;script&gt;") == 2


def test_a_value_that_is_missing_is_an_error_and_no_empty_page():
    with pytest.raises(Exception, match="'runs' is undefined"):
        render("evaluation.html.j2", scores=[], fit="", scenes={"runs": []})


@pytest.mark.parametrize("name", ["batch.html.j2", "evaluation.html.j2"])
def test_every_page_has_the_one_look_and_admits_no_script(name):
    source, _, _ = environment().loader.get_source(environment(), name)
    assert source.startswith('{% extends "base.html.j2" %}')
    assert "style=" not in source and "<style" not in source and "safe" not in source
    page = render("evaluation.html.j2", scores=[], fit="", runs=[], scenes={"runs": []})
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "prefers-color-scheme: dark" in page


def test_without_jinja2_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    pages.environment.cache_clear()
    with pytest.raises(MissingDependency, match=r"pip install '.*\[html\]'|setup\.sh html"):
        render("base.html.j2")
    monkeypatch.undo()
    pages.environment.cache_clear()


def test_bars_stand_on_the_floor_and_on_each_other():
    chart = bar_chart(400, [[1.0, 4.0], [1.0, 0.0]], {1.0: "one"})
    floor, full = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    first, upon, second, none = chart.bars
    assert first.y + first.height == floor == second.y + second.height
    assert first.height == upon.height == pytest.approx(full / 4, abs=0.1)
    assert upon.y + upon.height == pytest.approx(first.y, abs=0.1)
    assert second.height == full and none.height == 0
    assert [bar.kind for bar in chart.bars] == [0, 1, 0, 1]
    assert chart.marks[0] == (floor, "0") and chart.marks[-1] == (TOP, "4")
    assert chart.labels == [(second.x, "one")] and first.x == LEFT


def test_numbers_and_times_are_short():
    assert [number_text(value) for value in (1234.5, 12.345, 0.012345)] == [
        "1,234",
        "12.3",
        "0.0123",
    ]
    times = [seconds_text(value) for value in (0, 0.015, 3, 1200, 5400)]
    assert times == ["0", "15 ms", "3 s", "20 min", "1.5 h"]
