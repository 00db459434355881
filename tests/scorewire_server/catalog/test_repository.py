from __future__ import annotations

import os
from pathlib import Path

import pytest

from scorewire_contract.bundle import BundleError
from scorewire_contract.service.start import StartError
from scorewire_server.catalog.repository import BundleFolder, identify, read_folder, refuse_misplaced, scan
from tests import bundles


def test_folders_of_versions_are_found_in_order(models: Path) -> None:
    for model, version in (("b", "2.0.0"), ("a", "1.0.0"), ("b", "1.0.0")):
        (models / model / version).mkdir(parents=True)
    found = [(each.model, each.version, each.path) for each in scan(models)]
    assert found == [
        ("a", "1.0.0", models / "a/1.0.0"),
        ("b", "1.0.0", models / "b/1.0.0"),
        ("b", "2.0.0", models / "b/2.0.0"),
    ]


def test_dot_folders_and_files_are_passed_over(models: Path) -> None:
    for folder in (".git/1.0.0", "a/.1.0.0.half", "a/1.0.0"):
        (models / folder).mkdir(parents=True)
    (models / "README.md").write_text("for people")
    (models / "a" / "notes.txt").write_text("for people")
    assert [(each.model, each.version) for each in scan(models)] == [("a", "1.0.0")]


def test_an_empty_folder_has_no_versions(models: Path) -> None:
    assert scan(models) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(StartError, match="--models"):
            scan(path)


def test_a_folder_that_is_too_deep_is_refused_with_the_right_one(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "1.1.0"):
        bundles.write_sum_bundle(models, version=version)
    right = f"name the folder of all models: --models {models.resolve()}"
    with pytest.raises(StartError) as caught:
        refuse_misplaced(models / "sum")
    found = f"--models {models / 'sum'} is the folder of one model, with versions 1.0.0, 1.1.0; "
    assert str(caught.value) == found + right
    monkeypatch.chdir(models / "sum" / "1.0.0")
    with pytest.raises(StartError) as caught:
        refuse_misplaced(Path())
    assert str(caught.value) == f"--models . is a bundle, one version of a model; {right}"
    refuse_misplaced(models)


def test_a_bundle_in_another_folder_than_its_own_is_refused(models: Path) -> None:
    written = bundles.write_sum_bundle(models)
    for model, version in (("other", "1.0.0"), ("sum", "1.0.1")):
        moved = models / model / version
        moved.parent.mkdir(exist_ok=True)
        written = written.rename(moved)
        with pytest.raises(BundleError, match="the manifest says sum 1.0.0"):
            read_folder(BundleFolder(moved, model, version))


def test_links_to_bundles_are_found_and_refused(models: Path, tmp_path: Path) -> None:
    bundles.write_sum_bundle(tmp_path / "elsewhere")
    (models / "sum").symlink_to(tmp_path / "elsewhere" / "sum")
    (models / "deep").mkdir()
    (models / "deep" / "1.0.0").symlink_to(tmp_path / "elsewhere" / "sum" / "1.0.0")
    folders = scan(models)
    assert [(each.model, each.version) for each in folders] == [("deep", "1.0.0"), ("sum", "1.0.0")]
    for folder in folders:
        with pytest.raises(BundleError, match="link|not a folder"):
            read_folder(folder)


def test_names_of_folders_leave_as_printable_text_and_none_like_another(models: Path) -> None:
    odd = [b"1.0.0-\xff", b"1.0.0-\\udcff", b"1.0.0\n", b"1.0.0\\n", b"1.0.0-\x1b[31m"]
    for name in odd:
        (models / "sum" / os.fsdecode(name)).mkdir(parents=True)
    found = scan(models)
    assert {os.fsencode(each.path.name) for each in found} == set(odd)
    assert len({each.version for each in found}) == len(odd)
    for folder in found:
        assert folder.version.isprintable()
        with pytest.raises(BundleError, match="missing"):
            read_folder(folder)


def test_a_change_that_restores_sizes_and_times_is_another_identity(models: Path) -> None:
    path = bundles.write_sum_bundle(models)
    before, status = identify(path), (path / "golden.json").stat()
    assert identify(path) == before
    with (path / "golden.json").open("r+b") as file:
        file.write(b" ")
    os.utime(path / "golden.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert identify(path) != before
