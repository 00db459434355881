"""The text and the picture of the contributions to one row."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from scorewire import Client
from scorewire.testing import FakeModel, FakeServer
from tests.fake_models import LEAVING, SHADE

ROW = {"age": 30.0, "country": "pe", "visits": 8.0, "plan": None}


def explained(model: FakeModel, rows: Any, explain: Any = True) -> Any:
    with FakeServer(model) as server, Client(server.address) as client:
        return client.predict(model.name, rows, explain=explain).contributions


def bars_of(figure: Figure) -> list[tuple[str, float, float]]:
    """The name, begin and end of each bar, the lowest first."""
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    found = []
    for bar in axes.patches:
        begin, end = bar.get_x(), bar.get_x() + bar.get_width()
        found.append((names[round(bar.get_y() + bar.get_height() / 2)], round(begin, 9), round(end, 9)))
    return found


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_text_has_the_strongest_columns_with_their_values() -> None:
    assert str(explained(LEAVING, ROW)).splitlines() == [
        "probabilities: margin of yes, link sigmoid",
        "  base                    -0.5",
        "  age = 30                  +3  ++++++++++++++++++++++++",
        "  visits = 8                -2  ----------------",
        "  country = 'pe'            +1  ++++++++",
        "  plan missing              +0",
        "  margin                  +1.5",
    ]


def test_a_text_sums_the_columns_that_were_left_out() -> None:
    lines = str(explained(LEAVING, ROW, 1)).splitlines()
    assert lines[2:4] == [
        "  age = 30                   +3  ++++++++++++++++++++++++",
        "  3 other columns            -1  --------",
    ]


def test_a_short_form_is_one_line() -> None:
    found = repr(explained(LEAVING, ROW))
    assert found == (
        "<RowContributions output='probabilities', label='yes', base=-0.5, margin=1.5,"
        " {'age': 3, 'visits': -2, 'country': 1, ...}>"
    )


def test_a_waterfall_goes_from_the_base_to_the_margin() -> None:
    figure = explained(LEAVING, ROW).plot()
    assert bars_of(figure) == [
        ("plan missing", -0.5, -0.5),
        ("country = 'pe'", -0.5, 0.5),
        ("visits = 8", 0.5, -1.5),
        ("age = 30", -1.5, 1.5),
    ]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (names[0], names[-1]) == ("base", "margin")
    assert {"-0.5", "1.5", "+3", "-2", "+1"} <= set(texts_of(figure))
    assert figure.axes[0].get_title(loc="left") == "probabilities: margin of yes, link sigmoid"


def test_the_weaker_columns_are_one_bar() -> None:
    expected = [("3 other columns", -0.5, -1.5), ("age = 30", -1.5, 1.5)]
    assert bars_of(explained(LEAVING, ROW).plot(top=1)) == expected
    # The same where the server left them out.
    assert bars_of(explained(LEAVING, ROW, 1).plot()) == expected
    assert bars_of(explained(LEAVING, ROW).plot(top=3))[0] == ("1 other column", -0.5, -0.5)


def test_a_batch_draws_one_of_its_rows() -> None:
    rows = [{"x": 1.0, "y": 3.0}, {"x": 0.0, "y": -2.0}]
    found = explained(SHADE, rows)
    assert bars_of(found.plot()) == bars_of(found[0].plot())
    assert bars_of(found.plot(row=1)) == [("x = 0", 0.0, 0.0), ("y = -2", 0.0, 2.0)]
    assert bars_of(found.plot(row=-1, label="blue")) == [("x = 0", 0.0, 0.0), ("y = -2", 0.0, -4.0)]
    assert bars_of(found.plot(1, "blue", 1)) == [("1 other column", 0.0, 0.0), ("y = -2", 0.0, -4.0)]
    with pytest.raises(IndexError):
        found.plot(row=2)
    with pytest.raises(ValueError, match="no margin 'grey'"):
        found.plot(label="grey")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        found.plot(top=0)


def test_a_row_with_an_error_has_no_picture() -> None:
    found = explained(LEAVING, [{**ROW, "age": None}])
    with pytest.raises(ValueError, match="row 0 has an error"):
        found.plot()


def test_a_picture_needs_no_display_and_shows_any_name() -> None:
    names = ["$x_1$ {", "a\nb\x1b[31m", "Straße", "l" * 200]
    model = replace(
        LEAVING,
        features=dict.fromkeys(names, str),
        score=lambda _: 0.5,
        explain=lambda _: dict.fromkeys(names, 0.25),
    )
    found = explained(model, dict.fromkeys(names, "$\\frac{1}$\u202e\n" * 20))
    file = io.BytesIO()
    found.plot().savefig(file, format="png")
    assert np.asarray(matplotlib.image.imread(io.BytesIO(file.getvalue()))).std() > 0.01
    assert all(line.isprintable() and len(line) < 140 for line in str(found).split("\n"))


def test_a_row_without_any_effect_has_a_picture() -> None:
    found = explained(replace(LEAVING, explain=lambda _: {}, base=0.0), ROW)
    file = io.BytesIO()
    found.plot().savefig(file, format="svg")
    assert b"<svg" in file.getvalue()
    assert "+0" in str(found)


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "matplotlib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from scorewire import Client
from scorewire.testing import FakeModel, FakeServer

model = FakeModel(name="sum", features={"x": float}, score=lambda row: row["x"], explain=lambda row: row)
with FakeServer(model) as server, Client(server.address) as client:
    found = client.predict("sum", [{"x": 2}], explain=True).contributions
    assert found[0]["x"] == 2
    for make in (found.to_pandas, found.plot, found[0].plot):
        try:
            make()
        except ImportError as error:
            print(error)
"""


def test_pandas_and_matplotlib_are_optional_and_the_error_says_what_to_install() -> None:
    result = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "to_pandas needs pandas: pip install 'scorewire[pandas]'",
        "plot needs matplotlib: pip install 'scorewire[plot]'",
        "plot needs matplotlib: pip install 'scorewire[plot]'",
    ]
