"""Typed schemas: names and numbers of fields, and that they stay the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from scorewire_contract.typed import (
    IncompatibleSchemaError,
    TypedSchema,
    assign_fields,
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


def test_no_two_models_share_a_package() -> None:
    names = ["a-b", "a_b", "a_hb", "a__b", "a-_b", "a_-b", "a--b"]
    assert len({package_of(name, 1) for name in names}) == len(names)


def test_a_schema_without_numbers_is_numbered_by_position() -> None:
    typed = typed_schema("m", "1.0.0", schema_of("a", "b", outputs=("x", "y")))
    assert [field.number for field in typed.features] == [1, 2]
    assert [field.number for field in typed.outputs] == [3, 4]


def test_numbers_that_protobuf_keeps_for_itself_are_passed_over() -> None:
    schema = schema_of(*(f"x{i}" for i in range(19_002)))
    assign_fields(schema, None)
    assert schema.features[18_998].field_number == 18_999
    assert schema.features[18_999].field_number == 20_000


def test_the_next_version_keeps_adds_and_reserves() -> None:
    first = schema_of("a", "b", "a b", outputs=("x", "y"))
    assign_fields(first, None)
    second = schema_of("new", "a b", "a", outputs=("y",))
    assign_fields(second, first, before="1.0.0")
    assert [each.field_number for each in second.features] == [4, 3, 1]
    assert list(second.reserved_features.numbers) == [2]
    assert list(second.reserved_features.names) == ["b"]
    assert list(second.reserved_outputs.names) == ["x"]
    third = schema_of("b", "a b", "a", outputs=("y", "z"))
    assign_fields(third, second, before="1.1.0")
    assert [each.field_number for each in third.features] == [5, 3, 1]
    assert list(third.reserved_features.numbers) == [2, 4]
    assert third.outputs[1].field_number == 5
    assert [field.name for field in typed_schema("m", "1.2.0", third).features] == ["b_5", "a_b", "a"]


def test_a_name_stays_when_the_one_that_it_made_way_for_goes() -> None:
    first = schema_of("a b", "a_b")
    assign_fields(first, None)
    second = schema_of("a_b")
    assign_fields(second, first)
    assert typed_schema("m", "1.1.0", second).features[0].name == "a_b_2"


def test_what_breaks_clients_needs_a_new_major() -> None:
    first = schema_of("a")
    assign_fields(first, None)
    required = schema_of("a", "b")
    required.features[1].missing_allowed = False
    wider = schema_of("a")
    wider.outputs[0].width = 2
    for schema, words in (
        (schema_of("a", kind=TEXT), "feature 'a' changes its kind"),
        (required, "feature 'b' is new and must not be missing"),
        (wider, "output 'value' changes its kind or width"),
        (stricter(missing_allowed=False), "feature 'a' must not be missing any more"),
        (stricter(whole=True), "feature 'a' must be a whole number now"),
    ):
        with pytest.raises(IncompatibleSchemaError, match=f"{words}.*clients of 1.0.0.*new major"):
            assign_fields(schema, first, before="1.0.0")


def stricter(kind: int = NUMBER, **allowed: bool) -> schema_pb2.Schema:
    schema = schema_of("a", kind=kind)
    for name, value in allowed.items():
        setattr(schema.features[0], name, value)
    return schema


def test_a_text_that_was_scored_may_not_be_refused_within_a_major() -> None:
    first, second = stricter(TEXT, unknown_allowed=True), stricter(TEXT, unknown_allowed=False)
    assign_fields(first, None)
    with pytest.raises(IncompatibleSchemaError, match="feature 'a' refuses unknown texts now"):
        assign_fields(second, first, before="1.0.0")
    assign_fields(first, second, before="1.0.0")


def test_versions_beside_each_other_never_use_one_number_for_two_things() -> None:
    first = schema_of("a", outputs=("x",))
    assign_fields(first, None)
    minor = schema_of("a", "new", "more", outputs=("x", "y"))
    assign_fields(minor, first, before="1.0.0")
    patch = schema_of("a", "fix", "more", outputs=("x", "z", "y"))
    assign_fields(patch, first, before="1.0.0", others=[minor])
    assert [each.field_number for each in patch.features] == [1, 4, 3]
    assert [each.field_number for each in patch.outputs] == [3, 5, 4]
    later = schema_of("a", "new", "more", "fix", "last")
    assign_fields(later, minor, before="1.1.0", others=[first, patch])
    assert [each.field_number for each in later.features] == [1, 2, 3, 4, 5]


def test_what_went_does_not_come_back_under_its_number() -> None:
    first, second, third = schema_of("a", "b"), schema_of("a"), schema_of("a", "b")
    assign_fields(first, None)
    assign_fields(second, first, before="1.0.0")
    assign_fields(third, second, before="1.1.0", others=[first])
    assert [each.field_number for each in third.features] == [1, 3]


def test_classes_in_another_order_need_a_new_major() -> None:
    first, second = schema_of("a", outputs=()), schema_of("a", outputs=())
    for schema, labels in ((first, ["no", "yes"]), (second, ["yes", "no"])):
        schema.outputs.add(name="p", kind=schema_pb2.OUTPUT_KIND_PROBABILITY, width=2, class_labels=labels)
    with pytest.raises(IncompatibleSchemaError, match="output 'p' changes its classes"):
        assign_fields(second, first, before="1.0.0")


def test_a_number_that_stands_twice_is_refused() -> None:
    schema = schema_of("a", "b")
    for feature in schema.features:
        feature.field_number = 4
    with pytest.raises(ValueError, match="one number"):
        typed_schema("m", "1.0.0", schema)
