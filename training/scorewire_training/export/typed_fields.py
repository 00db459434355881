"""The fields of a new version's typed schema: numbers and names that clients of earlier versions know.

A field keeps its number and its name within a major version. The name of a new field
is written in ASCII letters, as those who read the script would write it: größe is
grosse, and 年齢 is NianLing. It has the field's number appended where generated code
has a member of that name: `descriptor`, or `has_x` beside a field `x`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

from anyascii import anyascii

from scorewire_contract.typed import (
    FIRST_FEATURE,
    FIRST_OUTPUT,
    OWN_FIELDS,
    PREDICTION_ID,
    Field,
    Named,
    distinct,
    fold,
    identifier,
    typed_schema,
    usable_numbers,
)
from scorewire_proto.v1 import schema_pb2

_Side: TypeAlias = tuple[Named, schema_pb2.ReservedFields]
# What must be equal in two versions for them to share a field: name, kind and width.
_Identity: TypeAlias = tuple[str, int, int]


# The code of a message has members of these names. Fields of the first ones do not compile in C++ or Java;
# the others would hide what the messages of Python can do.
_MEMBERS = frozenset(
    map(
        fold,
        (
            *("descriptor", "default_instance", "internal_default_instance", "unknown_fields"),
            *("ByteSize", "Clear", "ClearExtension", "ClearField", "CopyFrom", "DiscardUnknownFields"),
            *("Extensions", "FindInitializationErrors", "FromString", "HasExtension", "HasField"),
            *("IsInitialized", "ListFields", "MergeFrom", "MergeFromString", "ParseFromString"),
            *("RegisterExtension", "SerializePartialToString", "SerializeToString", "SetInParent"),
            *("WhichOneof",),
        ),
    )
)


class IncompatibleSchemaError(ValueError):
    """A version would break typed clients of the version before it; the message tells where."""


def assign_fields(
    schema: schema_pb2.Schema,
    predecessor: schema_pb2.Schema | None,
    *,
    before: str = "",
    others: Sequence[schema_pb2.Schema] = (),
) -> None:
    """Number and name the fields of a new version's schema.

    Args:
        schema: the schema of the new version; changed in place.
        predecessor: the schema of the version before it in the same major version, or None.
        before: the version before it, for error messages.
        others: the schemas of the other versions of the major version. New fields do not
            use their numbers for something else, because one service is for all versions.

    Raises:
        IncompatibleSchemaError: clients of the version before it would break.
        ValueError: the fields of the version before it, or of another one, contradict
            each other.
    """
    old = schema_pb2.Schema()
    if predecessor is not None:
        old.CopyFrom(predecessor)
        _check_compatible(schema, old, before)
    fields, *there = [_fields(each) for each in (old, *others)]
    names: list[list[str]] = []
    for side, first in enumerate((FIRST_FEATURE, FIRST_OUTPUT)):
        new, reserved = _sides(schema)[side]
        former, gone = _sides(old)[side]
        known = {each.name: field for each, field in zip(former, fields[side], strict=True)}
        elsewhere = {
            _identity(each): field
            for other, its_fields in zip(others, there, strict=True)
            for each, field in zip(_sides(other)[side][0], its_fields[side], strict=True)
        }
        taken = {number for other in others for number in _sides(other)[side][1].numbers}
        _number(new, known, elsewhere, {*range(first), *gone.numbers}, taken)
        reserved.CopyFrom(_reserve(new, former, fields[side], gone))
        # The id of the record keeps its name, so that clients of earlier versions find it.
        taken_names = {*reserved.names, *((*OWN_FIELDS, PREDICTION_ID) if side else ())}
        names.append(_names(new, known, elsewhere, taken_names))
    # A schema that readers name by themselves in the same way needs no names, and is readable for releases
    # that know none.
    for (new, _), own_names, plain in zip(_sides(schema), names, _fields(schema), strict=True):
        if own_names != [field.name for field in plain]:
            for each, name in zip(new, own_names, strict=True):
                each.field_name = name


def _fields(schema: schema_pb2.Schema) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    typed = typed_schema("m", "1.0.0", schema)
    return typed.features, typed.outputs


def _sides(schema: schema_pb2.Schema) -> tuple[_Side, _Side]:
    """The inputs and the outputs: what has fields, and its reserved fields."""
    return (schema.features, schema.reserved_features), (schema.outputs, schema.reserved_outputs)


def _check_compatible(schema: schema_pb2.Schema, old: schema_pb2.Schema, before: str) -> None:
    way_out = f"so it breaks clients of {before}: choose a version of a new major"
    features = {each.name: each for each in old.features}
    for feature in schema.features:
        if problem := _narrower(feature, features.get(feature.name)):
            raise IncompatibleSchemaError(f"feature {feature.name!r} {problem}, {way_out}")
    outputs = {each.name: each for each in old.outputs}
    for output in schema.outputs:
        former_output = outputs.get(output.name)
        if former_output is None:
            continue
        if former_output.kind != output.kind or former_output.width != output.width:
            raise IncompatibleSchemaError(f"output {output.name!r} changes its kind or width, {way_out}")
        if output.kind == schema_pb2.OUTPUT_KIND_PROBABILITY and (
            former_output.class_labels != output.class_labels
        ):
            raise IncompatibleSchemaError(f"output {output.name!r} changes its classes, {way_out}")


def _narrower(feature: schema_pb2.Feature, former: schema_pb2.Feature | None) -> str:
    """How a feature refuses values that it took in the version before; "" if it does not."""
    if former is None:
        return "" if feature.missing_allowed else "is new and must not be missing"
    if former.kind != feature.kind:
        return "changes its kind"
    if former.missing_allowed and not feature.missing_allowed:
        return "must not be missing any more"
    if former.unknown_allowed and not feature.unknown_allowed:
        return "refuses unknown texts now"
    return "must be a whole number now" if feature.whole and not former.whole else ""


def _number(
    new: Named,
    known: Mapping[str, Field],
    elsewhere: Mapping[_Identity, Field],
    reserved: Set[int],
    taken: Set[int],
) -> None:
    """Number the fields: as in the version before, else as in another version, else with a new number."""
    used = {*reserved, *(field.number for field in known.values())}
    unused = usable_numbers(max({*used, *taken, *(field.number for field in elsewhere.values())}) + 1)
    for each in new:
        field = known.get(each.name)
        if field is None:
            field = elsewhere.get(_identity(each))
            each.field_number = next(unused) if field is None or field.number in used else field.number
            used.add(each.field_number)
        else:
            each.field_number = field.number


def _names(
    new: Named, known: Mapping[str, Field], elsewhere: Mapping[_Identity, Field], taken: Set[str]
) -> list[str]:
    """The names: as in the version before, else as in another version, else in ASCII letters."""
    used = {fold(name) for name in taken}
    used |= {fold(known[each.name].name) for each in new if each.name in known}
    names: dict[str, str] = {}
    for each in sorted(new, key=lambda each: each.field_number):
        field = known.get(each.name)
        if field is not None:
            names[each.name] = field.name
            continue
        there = elsewhere.get(_identity(each))
        same = there is not None and there.number == each.field_number
        if there is not None and same:
            wanted = there.name
        else:
            wanted = identifier(anyascii(each.name))
            if _is_member(wanted, used):
                wanted = f"{wanted}_{each.field_number}"
        names[each.name] = distinct(wanted, each.field_number, used)
    return [names[each.name] for each in new]


def _is_member(name: str, used: Set[str]) -> bool:
    """Whether generated code has a member of this name: one of all messages, or the presence of a field."""
    letters = fold(name)
    presence = letters.startswith("has") and letters.removeprefix("has") in used
    return letters in _MEMBERS or presence or f"has{letters}" in used


def _identity(each: schema_pb2.Feature | schema_pb2.OutputSchema) -> _Identity:
    return each.name, each.kind, each.width if isinstance(each, schema_pb2.OutputSchema) else 1


def _reserve(
    new: Named, old: Named, fields: Sequence[Field], reserved: schema_pb2.ReservedFields
) -> schema_pb2.ReservedFields:
    kept = {each.name for each in new}
    gone = [field for each, field in zip(old, fields, strict=True) if each.name not in kept]
    both = sorted(
        [
            *zip(reserved.numbers, reserved.names, strict=True),
            *((field.number, field.name) for field in gone),
        ]
    )
    return schema_pb2.ReservedFields(numbers=[n for n, _ in both], names=[name for _, name in both])
