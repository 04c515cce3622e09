"""Charts: sound SVG, in a page's own colours or alone on white, told in words."""

import xml.etree.ElementTree as ET

from training.pages.charts import SERIES_COLOURS, Chart, Line

CHART = Chart(
    title="Words <recalled>",
    x_label="steps",
    y_label="share",
    lines=[
        Line(label="a & b", points=[(5, 1.0), (200, 0.5)], bounds=[(0.9, 1.0), (0.4, 0.6)]),
        Line(label="nothing", points=[]),
        Line(label="one", points=[(50, 0.25)], series=1),
    ],
    log_x=True,
    level=(0.0625, "chance"),
    note="Of <b>two</b>.",
)


def test_a_chart_is_told_in_words():
    assert CHART.description == (
        "Line chart, Words <recalled>: share by steps. a & b: 1 at 5, 0.5 at 200; one: 0.25 at 50, "
        "0.25 at 50; chance: 0.0625 throughout."
    )
    empty = Chart(title="t", x_label="x", y_label="y", lines=[], log_y=True)
    assert empty.description.endswith("no values yet.")
    assert "<svg" in empty.figure


def test_in_a_page_it_takes_the_pages_colours():
    figure = str(CHART.figure)
    assert not any(colour in figure for colour in SERIES_COLOURS)
    for variable in ("--series-1", "--series-2", "--ink", "--grid"):
        assert f"var({variable})" in figure
    assert "<b>two</b>" not in figure
    element = ET.fromstring(figure)
    (svg,) = [child for child in element if child.tag.endswith("svg")]
    assert (svg.get("role"), svg.get("aria-label")) == ("img", CHART.description)


def test_as_a_picture_it_is_a_file_of_its_own():
    picture = CHART.picture()
    root = ET.fromstring(picture.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in picture
    words = "".join(root.itertext())
    for text in ("Words <recalled>", "steps", "share", "a & b", "chance", "200"):
        assert text in words
    assert CHART.picture() == picture
