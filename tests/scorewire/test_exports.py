from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.resources import files
from types import ModuleType

import pytest

import scorewire
import scorewire.testing


@pytest.mark.parametrize("module", [scorewire, scorewire.testing])
def test_exported_names_are_those_that_the_package_says(module: ModuleType) -> None:
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert own == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__, key=lambda n: (not n.isupper(), n))


def test_everything_exported_is_documented() -> None:
    for name in scorewire.__all__:
        value = getattr(scorewire, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_values_are_frozen_slotted_and_named() -> None:
    values = [value for value in vars(scorewire).values() if dataclasses.is_dataclass(value)]
    assert len(values) >= 10
    for value in values:
        parameters = value.__dataclass_params__  # type: ignore[union-attr]  # what dataclass leaves there
        assert parameters.frozen, value
        assert "__slots__" in vars(value), value
        assert all(field.kw_only for field in dataclasses.fields(value) if field.init), value


def test_types_are_shipped() -> None:
    assert files("scorewire").joinpath("py.typed").is_file()


def test_import_brings_no_pandas_and_no_arrow() -> None:
    heavy = "{'pandas', 'pyarrow', 'rich', 'click', 'matplotlib'}"
    code = f"import sys, scorewire; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "pyarrow", "rich"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy as np
from scorewire import Client
from scorewire.testing import FakeModel, FakeServer

model = FakeModel(name="sum", features={"x": float}, score=lambda row: row["x"])
with FakeServer(model) as server, Client(server.address) as client:
    assert client.predict("sum", {"x": 2}).score == 2
    batch = client.predict("sum", np.array([[1.0], [3.0]]))
    assert batch.scores.tolist() == [1.0, 3.0]
    try:
        batch.to_pandas()
    except ImportError as error:
        print(error)
"""


def test_pandas_is_not_needed_and_to_pandas_says_how_to_get_it() -> None:
    result = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "to_pandas needs pandas: pip install 'scorewire[pandas]'"
