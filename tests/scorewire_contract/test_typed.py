"""Typed schemas: names and numbers of fields, and that they stay the same."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from scorewire_contract.typed import (
    TypedSchema,
    former_package_of,
    model_of,
    package_of,
    typed_schema,
)
from scorewire_proto.v1 import schema_pb2

NUMBER, TEXT = schema_pb2.FEATURE_KIND_NUMBER, schema_pb2.FEATURE_KIND_TEXT


def schema_of(*features: str, outputs: tuple[str, ...] = ("value",), kind: int = NUMBER) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in features:
        schema.features.add(name=name, kind=schema_pb2.FeatureKind.ValueType(kind), missing_allowed=True)
    for name in outputs:
        schema.outputs.add(name=name, kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    return schema


def compiled(typed: TypedSchema, folder: Path) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor that protoc makes of the rendered schema."""
    path = folder / typed.file_name
    path.parent.mkdir(parents=True)
    path.write_text(typed.render(), encoding="utf-8")
    image = folder / "image"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={folder}",
            f"--descriptor_set_out={image}",
            str(path),
        ],
        check=True,
    )
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    return file


def test_the_rendered_schema_compiles_to_the_descriptor(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="protoc is not in the lock of the oldest releases")
    schema = schema_of("age in years", "2nd", "größe", "age_in_years", "ageInYears", "x*/y\n", "_", "lambda")
    schema.features[0].missing_share = float("nan")
    schema.features.add(name="word", kind=TEXT, description="What was said.\nAll of it")
    schema.outputs.add(
        name="p", kind=schema_pb2.OUTPUT_KIND_PROBABILITY, width=2, class_labels=["no", "ja\n//"]
    )
    schema.outputs.add(name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, width=1, class_labels=["no", "yes"])
    schema.outputs.add(name="error", kind=schema_pb2.OUTPUT_KIND_TEXT, width=3)
    schema.features[2].field_name = "groesse"
    schema.reserved_features.numbers.append(77)
    schema.reserved_features.names.append("gone")
    typed = typed_schema("game-revenue", "3.1.0-rc.1", schema, "Predicts.")
    file = compiled(typed, tmp_path)
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert file == typed.descriptor()
    descriptor_pool.DescriptorPool().Add(typed.descriptor())


def test_names_are_identifiers_and_differ_in_every_spelling() -> None:
    schema = schema_of("a b", "a_b", "aB", "2nd", "", "ß")
    names = [field.name for field in typed_schema("m", "1.0.0", schema).features]
    assert names == ["a_b", "a_b_2", "aB_3", "f_2nd", "f", "f_6"]


@pytest.mark.parametrize(
    ("model", "package"),
    [
        ("churn", "churn"),
        ("churn_eu", "churn_eu"),
        ("game-revenue", "gameRevenue"),
        ("churn-eu-v2", "churnEuV2"),
        ("churn-2024", "churnN2024"),
        ("churn-n2024", "churnNn2024"),
        ("a-next", "aNext"),
        ("a_b-c", "a_bC"),
        ("a--_b-", "a_H_H_b_H"),
    ],
)
def test_packages_are_readable_identifiers(model: str, package: str) -> None:
    typed = typed_schema(model, "3.0.0", schema_of("a"))
    assert typed.package == f"scorewire.models.{package}.v3"
    assert all(part.isidentifier() for part in typed.package.split("."))
    descriptor_pool.DescriptorPool().Add(typed.descriptor())


def test_no_two_models_share_a_package_new_or_former() -> None:
    names = ["".join(["a", *rest]) for size in range(5) for rest in itertools.product("-_n2", repeat=size)]
    owners: dict[str, str] = {}
    for name in names:
        for package in {package_of(name, 1), former_package_of(name, 1)}:
            assert owners.setdefault(package, name) == name
            assert model_of(f"/{package}.AnyService/Predict") == name


@pytest.mark.parametrize("path", ["", "/scorewire.v1.PredictionService/Predict", "scorewire.models.a.v1.A/P"])
def test_other_paths_are_of_no_model(path: str) -> None:
    assert model_of(path) is None


def test_a_schema_has_the_same_fields_under_its_former_name() -> None:
    typed = typed_schema("game-revenue", "1.0.0", schema_of("a"))
    assert typed.former.service == "scorewire.models.game_Hrevenue.v1.GameRevenueService"
    assert typed.former.messages == typed.messages
    plain = typed_schema("churn_eu", "1.0.0", schema_of("a"))
    assert plain.former == plain


def test_the_names_of_the_schema_come_before_the_plain_names() -> None:
    schema = schema_of("b", "a", "größe", outputs=("version", "wert"))
    schema.features[2].field_name = "a"
    schema.outputs[1].field_name = "value"
    typed = typed_schema("m", "1.0.0", schema)
    assert [field.name for field in typed.features] == ["b", "a_2", "a"]
    assert [field.name for field in typed.outputs] == ["version_3", "value"]


def test_the_comment_of_a_renamed_field_has_the_name_in_the_model() -> None:
    schema = schema_of("größe", "alter", outputs=())
    for feature, name in zip(schema.features, ("groesse", "alter"), strict=True):
        feature.field_name, feature.description = name, "In cm"
    schema.outputs.add(
        name="chance %", kind=schema_pb2.OUTPUT_KIND_PROBABILITY, width=2, class_labels=["no", "yes"]
    )
    typed = typed_schema("m", "1.0.0", schema)
    comments = [field.comment for field in (*typed.features, *typed.outputs)]
    assert comments == [
        "'größe': In cm. Missing in 0.0% of the sample.",
        "In cm. Missing in 0.0% of the sample.",
        "'chance %': The probabilities of 'no', 'yes'.",
    ]


@pytest.mark.parametrize("name", ["größe", "1a", "a b", "", "_a", "A_a", "a" * 3000, "a\n"])
def test_names_that_are_no_identifiers_or_stand_twice_are_refused(name: str) -> None:
    schema = schema_of("x", "y")
    schema.features[0].field_name = "aa"
    schema.features[1].field_name = name or "aa"
    with pytest.raises(ValueError, match="one name, or a name is not an identifier"):
        typed_schema("m", "1.0.0", schema)


@pytest.mark.parametrize("name", ["version", "Error", "gone"])
def test_the_names_of_other_fields_of_a_prediction_are_refused(name: str) -> None:
    schema = schema_of("x")
    schema.outputs[0].field_name = name
    schema.reserved_outputs.numbers.append(9)
    schema.reserved_outputs.names.append("gone")
    with pytest.raises(ValueError, match="one name"):
        typed_schema("m", "1.0.0", schema)


def test_a_schema_without_numbers_is_numbered_by_position() -> None:
    typed = typed_schema("m", "1.0.0", schema_of("a", "b", outputs=("x", "y")))
    assert [field.number for field in typed.features] == [1, 2]
    assert [field.number for field in typed.outputs] == [3, 4]


def test_a_prediction_has_the_id_of_its_record_behind_all_outputs() -> None:
    typed = typed_schema("m", "1.0.0", schema_of("a"))
    assert (typed.prediction_id.name, typed.prediction_id.number) == ("prediction_id", 536_870_911)
    lines = typed.render().splitlines()
    at = lines.index("  optional string prediction_id = 536870911;")
    assert lines[at - 1] == "  // The id of the prediction's record; unset where the server keeps none."
    assert lines[at + 1] == "}"


@pytest.mark.parametrize(
    ("outputs", "gone", "name"),
    [
        (("prediction_id",), (), "scorewire_prediction_id"),
        (("predictionId",), (), "scorewire_prediction_id"),
        (("prediction id", "scorewire_prediction_id"), (), "scorewire_prediction_id_536870911"),
        (("value",), ("prediction_id",), "scorewire_prediction_id"),
    ],
)
def test_the_id_of_the_record_gives_way_to_an_output_with_its_name(
    outputs: tuple[str, ...], gone: tuple[str, ...], name: str
) -> None:
    schema = schema_of("a", outputs=outputs)
    schema.reserved_outputs.names.extend(gone)
    schema.reserved_outputs.numbers.extend(range(9, 9 + len(gone)))
    typed = typed_schema("m", "1.0.0", schema)
    assert typed.prediction_id.name == name
    pool = descriptor_pool.DescriptorPool()
    pool.Add(typed.descriptor())
    fields = pool.FindMessageTypeByName(f"{typed.package}.MPrediction").fields_by_number
    assert fields[536_870_911].name == name


def test_an_output_with_the_number_of_the_records_id_is_refused() -> None:
    schema = schema_of("a")
    schema.outputs[0].field_number = 536_870_911
    with pytest.raises(ValueError, match="one number"):
        typed_schema("m", "1.0.0", schema)


def test_clients_that_do_not_know_the_id_of_the_record_parse_predictions() -> None:
    typed = typed_schema("m", "1.0.0", schema_of("a", outputs=("score",)))
    file = typed.descriptor()
    former = descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString())
    (message,) = [each for each in former.message_type if each.name == "MPrediction"]
    assert message.field[-1].name == "prediction_id"
    del message.field[-1], message.oneof_decl[-1]

    def prediction(descriptor: descriptor_pb2.FileDescriptorProto) -> Any:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(descriptor)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{typed.package}.MPrediction"))

    new, old = prediction(file), prediction(former)
    data = new(version="1.0.0", score=0.5, prediction_id="id").SerializeToString()
    parsed = old.FromString(data)
    assert (parsed.version, parsed.score) == ("1.0.0", 0.5)
    # Proxies that know the old schema hand the field on.
    assert new.FromString(parsed.SerializeToString()).prediction_id == "id"
    assert not new.FromString(old(version="1.0.0").SerializeToString()).HasField("prediction_id")


def test_a_number_that_stands_twice_is_refused() -> None:
    schema = schema_of("a", "b")
    for feature in schema.features:
        feature.field_number = 4
    with pytest.raises(ValueError, match="one number"):
        typed_schema("m", "1.0.0", schema)
