from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from scorewire_training.config import TrainingConfig
from scorewire_training.config_file import load_config, record_table, render_config, without_folders
from scorewire_training.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(TrainingConfig):
    cut: date | None = None
    cuts: tuple[date, ...] = ()
    rate: float = 0.1
    careful: bool = False


def _load(tmp_path: Path, text: str, **overrides: object) -> Config:
    path = tmp_path / "train.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(Config, path, dict(overrides))


def test_settings_come_from_the_file_and_options_before_them(tmp_path: Path) -> None:
    text = 'data = "rows.csv"\nseed = 7\ntrials = 3\ncut = 2011-09-10\nrate = 1\ncareful = true\n'
    config = _load(tmp_path, text, seed=8, output_dir=tmp_path)
    assert config == Config(
        data=tmp_path / "rows.csv",
        seed=8,
        trials=3,
        cut=date(2011, 9, 10),
        rate=1.0,
        careful=True,
        output_dir=tmp_path,
    )


def test_without_a_file_the_defaults_are_in_force() -> None:
    assert load_config(Config, None, {"seed": 3}) == Config(seed=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead = 1", "sead is not a setting; did you mean 'seed'?"),
        ("zzz = 1", "zzz is not a setting; the keys are columns, delimiter"),
        ("x = 1", "x is not a setting; the keys are columns, delimiter"),
        ('seed = "1"', 'seed is "1": write a whole number'),
        ("seed = true", "seed is true: write a whole number"),
        ("seed = 1.0", "seed is 1.0: write a whole number"),
        ("seed = -1", "seed is -1: choose one from 0"),
        ("trials = 0", "trials is 0: choose 1 to 1000"),
        ("version = 1", 'version is 1: write a text in quotes, like "1.0.0"'),
        ('version = "one"', "version 'one' is not semantic"),
        ("cut = 2011-09-10T00:00:00", "cut is 2011-09-10T00:00:00: write a day, like 2011-09-10"),
        ('data_sha256 = "ab"', "data_sha256 is 'ab': it has 64 hex digits"),
        ("careful = 1", "careful is 1: write true or false"),
        ("cuts = 2011-09-10", "cuts is 2011-09-10: write a list of values, each a day"),
        ("cuts = [1]", "cuts is 1: write a day"),
        ('backend = "ray"', "backend is 'ray': choose local, dask"),
        ("[data]\nx = 1", "data is a table: write a path in quotes"),
        ("columns = 3", 'columns is 3: write a table of texts, like { customer = "ID" }'),
        ("columns = { time = 3 }", "columns is a table: write a table of texts"),
        ('columns = { time = "a", customer = "a" }', "column a is given as time and as customer"),
        ('decimal = "x"', "decimal is 'x': choose . or ,"),
        ("seed = ", "is not TOML"),
        ("seed = 1\nseed = 2", "is not TOML"),
    ],
)
def test_a_mistake_names_the_key_and_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "train.toml") in str(caught.value)


def test_an_option_that_is_wrong_does_not_blame_the_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="^seed is -1"):
        _load(tmp_path, "seed = 1", seed=-1)


def test_a_column_on_the_command_line_replaces_that_of_the_file_and_keeps_the_others(tmp_path: Path) -> None:
    text = '[columns]\ncustomer = "A"\ntime = "B"\n'
    assert _load(tmp_path, text, columns={"time": "C"}).columns == {"customer": "A", "time": "C"}


def test_an_option_stands_in_for_a_value_of_the_file_that_is_out_of_range(tmp_path: Path) -> None:
    assert _load(tmp_path, "seed = -1", seed=1).seed == 1


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"absent.toml cannot be read: No such file"):
        load_config(Config, tmp_path / "absent.toml", {})
    with pytest.raises(TrainingError, match="cannot be read: Is a directory"):
        load_config(Config, tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'data = "\xe9"')
    with pytest.raises(TrainingError, match="latin.toml is not TOML"):
        load_config(Config, tmp_path / "latin.toml", {})


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(
            data=Path('a "quoted"\\path\twith\x7f\n№ ü.csv'),
            version="1.0.0-rc.1",
            seed=2**32 - 1,
            trials=1,
            backend="dask=tcp://127.0.0.1:8786",
            cut=date(2011, 6, 12),
            cuts=(date(2011, 6, 12), date(2011, 9, 10)),
            rate=1e-7,
            careful=True,
            columns={"customer": "ID CLIENTE", 'odd "key"': "ü"},
            delimiter="\t",
            decimal=",",
            encoding="windows-1252",
            date_format="%d/%m/%Y",
        ),
    ],
)
def test_what_is_printed_back_gives_the_same_settings(tmp_path: Path, config: Config) -> None:
    text = render_config(config).decode()
    data = None if config.data is None else tmp_path / config.data
    assert _load(tmp_path, text) == replace(config, data=data)
    assert render_config(without_folders(_load(tmp_path, text))).decode() == text


def test_where_a_run_puts_things_is_not_printed_back(tmp_path: Path) -> None:
    text = render_config(Config(output_dir=tmp_path, mlflow_uri="sqlite:///runs.db")).decode()
    assert "output_dir" not in text
    assert "mlflow" not in text


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "train.toml").write_text('data = "../rows.csv"\noutput_dir = "out"\n')
    expected = Config(data=folder / "../rows.csv", output_dir=folder / "out")
    assert load_config(Config, folder / "train.toml", {}) == expected
    monkeypatch.chdir(folder)
    config = load_config(Config, Path("train.toml"), {})
    assert (config.data, config.output_dir) == (Path("../rows.csv"), Path("out"))
    (folder / "train.toml").write_text('data = "/rows.csv"\n')
    assert load_config(Config, Path("train.toml"), {}).data == Path("/rows.csv")
    # An option is relative to where the command runs.
    assert load_config(Config, folder / "train.toml", {"data": Path("rows.csv")}).data == Path("rows.csv")


def test_a_table_with_a_checksum_is_found_above_the_file_and_never_taken_for_another(tmp_path: Path) -> None:
    bundle = tmp_path / "models" / "m" / "1.0.0"
    bundle.mkdir(parents=True)
    table, settings = tmp_path / "rows.csv", bundle / "training.toml"
    table.write_text("a,b\n")
    recorded = record_table(Config(data=table))
    assert recorded.data_sha256 == hashlib.sha256(b"a,b\n").hexdigest()
    settings.write_bytes(render_config(without_folders(recorded)))
    assert str(tmp_path) not in settings.read_text()
    # Another table of that name is nearer, and is passed over.
    (bundle.parent / "rows.csv").write_text("c,d\n")
    assert load_config(Config, settings, {}) == recorded
    table.write_text("a,c\n")
    with pytest.raises(
        TrainingError, match=r"training.toml: the table is 'rows.csv' with the SHA-256 .*--data"
    ):
        load_config(Config, settings, {})
    # A table that is given is taken as it is, with a checksum of its own.
    given = load_config(Config, settings, {"data": table})
    assert (given.data, given.data_sha256) == (table, None)


def test_without_a_table_that_can_be_read_nothing_is_recorded(tmp_path: Path) -> None:
    for config in (Config(), Config(data=tmp_path / "nothing.csv"), Config(data=tmp_path)):
        assert record_table(config) == config
