"""Fields of new versions: numbers and names that clients of earlier versions know."""

from __future__ import annotations

import pytest

from scorewire_contract.typed import typed_schema
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.typed_fields import IncompatibleSchemaError, assign_fields
from tests.scorewire_contract.test_typed import NUMBER, TEXT, schema_of


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


def test_new_fields_are_not_called_what_generated_code_calls_its_members() -> None:
    first = schema_of(
        "descriptor", "SerializeToString", "has_phone", "phone", "has_fax", "clear", outputs=("has_error",)
    )
    assign_fields(first, None)
    typed = typed_schema("m", "1.0.0", first)
    assert [field.name for field in typed.features] == [
        *("descriptor_1", "SerializeToString_2", "has_phone", "phone_4", "has_fax", "clear_6"),
    ]
    assert [field.name for field in typed.outputs] == ["has_error_3"]
    # Bundles of before keep the names that their clients know, in their next versions too.
    former = schema_of("descriptor", "has_a", "a")
    kept = schema_of("descriptor", "has_a", "a", "b")
    assign_fields(kept, former, before="1.0.0")
    beside = schema_of("descriptor", "c")
    assign_fields(beside, None, others=[former])
    for schema, names in ((kept, ["descriptor", "has_a", "a", "b"]), (beside, ["descriptor", "c"])):
        assert [field.name for field in typed_schema("m", "1.1.0", schema).features] == names


def test_a_new_output_leaves_its_name_to_the_id_of_the_record() -> None:
    first = schema_of("a", outputs=("y",))
    assign_fields(first, None)
    second = schema_of("a", outputs=("y", "prediction_id"))
    assign_fields(second, first, before="1.0.0")
    for schema, outputs in ((first, ["y"]), (second, ["y", "prediction_id_4"])):
        typed = typed_schema("m", "1.0.0", schema)
        assert [field.name for field in typed.outputs] == outputs
        assert typed.prediction_id.name == "prediction_id"
    # An output of an earlier release keeps its name.
    former = schema_of("a", outputs=("prediction_id",))
    third = schema_of("a", outputs=("prediction_id",))
    assign_fields(third, former, before="1.0.0")
    typed = typed_schema("m", "1.1.0", third)
    assert (typed.outputs[0].name, typed.prediction_id.name) == ("prediction_id", "scorewire_prediction_id")


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


def named(schema: schema_pb2.Schema) -> list[str]:
    return [field.name for field in typed_schema("m", "1.0.0", schema).features]


def test_names_are_written_in_ascii_letters_and_differ() -> None:
    schema = schema_of("Año", "ano", "größe", "年齢", "Возраст", "x²", "😀", "%", "a b", outputs=("Größe",))
    assign_fields(schema, None)
    assert named(schema) == [
        *("Ano", "ano_2", "grosse", "NianLing", "Vozrast", "x2", "grinning", "f", "a_b"),
    ]
    assert [feature.name for feature in schema.features][:2] == ["Año", "ano"]
    assert typed_schema("m", "1.0.0", schema).outputs[0].name == "Grosse"


def test_a_name_of_any_length_becomes_an_identifier() -> None:
    schema = schema_of("﷽" * 333, "﷽" * 332)
    assign_fields(schema, None)
    first, second = named(schema)
    assert len(first) == 1000
    assert second == f"{first}_2"


def test_names_in_ascii_letters_are_not_stored() -> None:
    schema = schema_of("age", "a b", "a_b", outputs=("error",))
    assign_fields(schema, None)
    assert not any(each.field_name for each in (*schema.features, *schema.outputs))
    assert named(schema) == ["age", "a_b", "a_b_3"]


def test_a_new_version_of_an_earlier_bundle_keeps_its_names() -> None:
    earlier = schema_of("Año", "größe")
    for number, feature in enumerate(earlier.features, start=1):
        feature.field_number = number
    assert named(earlier) == ["A_o", "gr_e"]
    second = schema_of("größe", "Año", "Straße")
    assign_fields(second, earlier, before="1.0.0")
    assert named(second) == ["gr_e", "A_o", "Strasse"]
    # A name that is gone is reserved, and its feature comes back with a number of its own.
    third = schema_of("Año", "Straße")
    assign_fields(third, second, before="1.1.0", others=[earlier])
    assert list(third.reserved_features.names) == ["gr_e"]
    fourth = schema_of("Año", "Straße", "größe")
    assign_fields(fourth, third, before="1.2.0", others=[earlier, second])
    assert named(fourth) == ["A_o", "Strasse", "grosse"]
    assert [feature.field_number for feature in fourth.features] == [1, 3, 4]


def test_a_field_that_another_version_has_takes_its_name_with_its_number() -> None:
    first = schema_of("a")
    assign_fields(first, None)
    minor = schema_of("a", "größe")
    minor.features[0].field_number, minor.features[1].field_number = 1, 2
    assert named(minor) == ["a", "gr_e"]
    patch = schema_of("a", "größe")
    assign_fields(patch, first, before="1.0.0", others=[minor])
    assert named(patch) == ["a", "gr_e"]
    assert [feature.field_number for feature in patch.features] == [1, 2]
