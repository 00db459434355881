"""A model's typed schema: a protobuf service of its own, with a named field for each feature and output.

The rules:

- The package is scorewire.models.<name>.v<major>. In <name>, "-" becomes "_H", which
  no model's name contains, so that no two models share a package.
- A field's number never changes within a major version, and is never used for
  another field. Export gives new numbers to new features and reserves the numbers
  of features that are removed. All versions of a major version agree on what each
  number means.
- A field's name is the feature's name, with "_" for characters that identifiers do
  not allow. If another field has the same name, in any of the spellings that code
  generators make of names, the field's number is appended. The field with the
  smaller number keeps the plain name.
- In the prediction, field 1 is the version that answered and field 2 the row's
  error; outputs begin at 3.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from google.protobuf import descriptor_pb2

from scorewire_contract.schema import Version
from scorewire_proto.v1 import schema_pb2

PREDICT, PREDICT_BATCH, PREDICT_STREAM = "Predict", "PredictBatch", "PredictStream"
FIRST_FEATURE, FIRST_OUTPUT = 1, 3
_RESERVED_BY_PROTOBUF = range(19_000, 20_000)
_OWN_FIELDS = ("version", "error")
_COMMENT_WIDTH = 92
_WIDEST_LABELS = 12

_Type: TypeAlias = descriptor_pb2.FieldDescriptorProto
_DOUBLE, _STRING, _MESSAGE = _Type.TYPE_DOUBLE, _Type.TYPE_STRING, _Type.TYPE_MESSAGE
_TYPE_NAMES = {_DOUBLE: "double", _STRING: "string"}


class IncompatibleSchemaError(ValueError):
    """A version would break typed clients of the version before it; the message tells where."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    name: str
    number: int
    type: descriptor_pb2.FieldDescriptorProto.Type.ValueType
    repeated: bool = False
    optional: bool = False
    message: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `reserved` has the fields that it may not use again."""

    name: str
    comment: str
    fields: tuple[Field, ...]
    reserved: schema_pb2.ReservedFields


@dataclass(frozen=True, slots=True)
class TypedSchema:
    """The typed service of one major version of a model, as one of its versions defines it.

    `features` and `outputs` are the fields in schema order.
    """

    package: str
    stem: str
    comment: str
    features: tuple[Field, ...]
    outputs: tuple[Field, ...]
    messages: tuple[Message, ...]

    @property
    def service(self) -> str:
        """The service's full name."""
        return f"{self.package}.{self.stem}Service"

    @property
    def file_name(self) -> str:
        """The name of the .proto file."""
        return self.package.replace(".", "/") + ".proto"

    @property
    def methods(self) -> tuple[tuple[str, str, str, bool, str], ...]:
        """Each method: name, request, response, whether both are streams, and comment."""
        stem = self.stem
        return (
            (PREDICT, f"{stem}Row", f"{stem}Prediction", False, "Scores one row; a bad one fails the call."),
            (PREDICT_BATCH, f"{stem}Rows", f"{stem}Predictions", False, "Scores many rows, in order."),
            (PREDICT_STREAM, f"{stem}Row", f"{stem}Prediction", True, "Scores rows as they come, in order."),
        )

    def descriptor(self) -> descriptor_pb2.FileDescriptorProto:
        """The schema as a file descriptor."""
        file = descriptor_pb2.FileDescriptorProto(name=self.file_name, package=self.package, syntax="proto3")
        file.options.go_package = self._go_package
        for message in self.messages:
            _describe(message, file.message_type.add(name=message.name), self.package)
        service = file.service.add(name=f"{self.stem}Service")
        for name, request, response, streams, _ in self.methods:
            service.method.add(
                name=name,
                input_type=f".{self.package}.{request}",
                output_type=f".{self.package}.{response}",
                **({"client_streaming": True, "server_streaming": True} if streams else {}),
            )
        return file

    def render(self) -> str:
        """The schema as a .proto file, with comments."""
        lines = ['syntax = "proto3";', "", *_comment(self.comment), f"package {self.package};", ""]
        lines += [f'option go_package = "{self._go_package}";', ""]
        lines += [f"// Scores rows of this model.\nservice {self.stem}Service {{"]
        for name, request, response, streams, comment in self.methods:
            stream = "stream " if streams else ""
            lines.append(f"  // {comment}\n  rpc {name}({stream}{request}) returns ({stream}{response});")
        lines.append("}")
        for message in self.messages:
            lines += ["", *_comment(message.comment), f"message {message.name} {{", *_body(message), "}"]
        return "\n".join(lines) + "\n"

    @property
    def _go_package(self) -> str:
        return self.package.replace(".", "/")


def package_of(model: str, major: int) -> str:
    """The package of a major version of a model."""
    return f"scorewire.models.{model.replace('-', '_H')}.v{major}"


def typed_schema(model: str, version: str, schema: schema_pb2.Schema, description: str = "") -> TypedSchema:
    """Make the typed schema of a version.

    Args:
        model: the model's name.
        version: the semantic version.
        schema: the version's schema; without field numbers, fields are numbered by position.
        description: the model's description, for people.

    Raises:
        ValueError: two fields have the same number, or a field has a reserved number.
    """
    stem = "".join(part.capitalize() for part in re.split("[_-]", model))
    major = Version(version).major
    feature_numbers = _numbers([each.field_number for each in schema.features], FIRST_FEATURE)
    output_numbers = _numbers([each.field_number for each in schema.outputs], FIRST_OUTPUT)
    _check_numbers(feature_numbers, schema.reserved_features, FIRST_FEATURE)
    _check_numbers(output_numbers, schema.reserved_outputs, FIRST_OUTPUT)
    feature_names = _names(schema.features, feature_numbers, schema.reserved_features.names)
    output_names = _names(schema.outputs, output_numbers, [*schema.reserved_outputs.names, *_OWN_FIELDS])
    features = tuple(
        Field(
            name,
            number,
            _DOUBLE if each.kind == schema_pb2.FEATURE_KIND_NUMBER else _STRING,
            optional=True,
            comment=_feature_comment(each),
        )
        for each, name, number in zip(schema.features, feature_names, feature_numbers, strict=True)
    )
    outputs = tuple(
        Field(
            name,
            number,
            _STRING if each.kind in (schema_pb2.OUTPUT_KIND_CLASS, schema_pb2.OUTPUT_KIND_TEXT) else _DOUBLE,
            repeated=each.width != 1,
            optional=each.width == 1,
            comment=_output_comment(each),
        )
        for each, name, number in zip(schema.outputs, output_names, output_numbers, strict=True)
    )
    return TypedSchema(
        package=package_of(model, major),
        stem=stem,
        comment=f"Model {model}, version {version}. {description}".strip(),
        features=features,
        outputs=outputs,
        messages=tuple(_messages(stem, features, outputs, schema)),
    )


def assign_fields(
    schema: schema_pb2.Schema,
    predecessor: schema_pb2.Schema | None,
    *,
    before: str = "",
    others: Sequence[schema_pb2.Schema] = (),
) -> None:
    """Number the fields of a new version's schema.

    Args:
        schema: the schema of the new version; changed in place.
        predecessor: the schema of the version before it in the same major version, or None.
        before: the version before it, for error messages.
        others: the schemas of the other versions of the major version. New fields do not
            use their numbers for something else, because one service is for all versions.

    Raises:
        IncompatibleSchemaError: clients of the version before it would break.
    """
    old = schema_pb2.Schema()
    if predecessor is not None:
        old.CopyFrom(predecessor)
        _check_compatible(schema, old, before)
    typed = typed_schema("m", "1.0.0", old)
    for side, fields in enumerate((typed.features, typed.outputs)):
        new, reserved, first = _sides(schema)[side]
        former, gone, _ = _sides(old)[side]
        known = {each.name: field.number for each, field in zip(former, fields, strict=True)}
        _assign(new, known, gone, [_sides(other)[side] for other in others], first)
        reserved.CopyFrom(_reserve(new, former, fields, gone))


_Named: TypeAlias = "Sequence[schema_pb2.Feature | schema_pb2.OutputSchema]"
_Side: TypeAlias = tuple[_Named, schema_pb2.ReservedFields, int]


def _sides(schema: schema_pb2.Schema) -> tuple[_Side, _Side]:
    """The inputs and the outputs: what has fields, its reserved fields, and the first field number."""
    return (
        (schema.features, schema.reserved_features, FIRST_FEATURE),
        (schema.outputs, schema.reserved_outputs, FIRST_OUTPUT),
    )


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


def _assign(
    new: _Named,
    known: Mapping[str, int],
    gone: schema_pb2.ReservedFields,
    others: Sequence[_Side],
    first: int,
) -> None:
    """Number the fields: as in the version before, else as in another version, else with a new number."""
    used = {first - 1, *known.values(), *gone.numbers}
    there: dict[tuple[str, int, int], int] = {}
    taken = set(used)
    for named, reserved, _ in others:
        numbers = _numbers([each.field_number for each in named], first)
        there |= {_identity(each): number for each, number in zip(named, numbers, strict=True)}
        taken |= {*numbers, *reserved.numbers}
    unused = _usable(max(taken) + 1)
    for each in new:
        number = known.get(each.name)
        if number is None:
            number = there.get(_identity(each), 0)
            number = next(unused) if number in {0, *used} else number
            used.add(number)
        each.field_number = number


def _identity(each: schema_pb2.Feature | schema_pb2.OutputSchema) -> tuple[str, int, int]:
    """What must be equal in two versions for them to share a field number."""
    return each.name, each.kind, each.width if isinstance(each, schema_pb2.OutputSchema) else 1


def _reserve(
    new: _Named, old: _Named, fields: Sequence[Field], reserved: schema_pb2.ReservedFields
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


def _usable(first: int) -> Iterator[int]:
    return (number for number in count(first) if number not in _RESERVED_BY_PROTOBUF)


def _numbers(numbers: list[int], first: int) -> list[int]:
    return numbers if any(numbers) else [n for _, n in zip(numbers, _usable(first), strict=False)]


def _check_numbers(numbers: list[int], reserved: schema_pb2.ReservedFields, first: int) -> None:
    known = {*reserved.numbers, *_RESERVED_BY_PROTOBUF, *range(first)}
    if len(set(numbers)) < len(numbers) or not known.isdisjoint(numbers):
        raise ValueError("two fields of the typed schema have one number, or a reserved one")
    if len(reserved.numbers) != len(reserved.names):
        raise ValueError("the typed schema must reserve as many names as numbers")


def _names(named: _Named, numbers: list[int], taken: Iterable[str]) -> list[str]:
    used = {_spelling(name) for name in taken}
    names: dict[int, str] = {}
    for number, each in sorted(zip(numbers, named, strict=True), key=lambda pair: pair[0]):
        plain = re.sub("_+", "_", re.sub("[^A-Za-z0-9_]", "_", each.name)).strip("_")
        if not plain or plain[0].isdigit():
            plain = f"f_{plain}".rstrip("_")
        name = plain
        while _spelling(name) in used:
            name = f"{plain if name == plain else name}_{number}"
        used.add(_spelling(name))
        names[number] = name
    return [names[number] for number in numbers]


def _spelling(name: str) -> str:
    """The letters of a name that stay in every spelling that code generators make of it."""
    return name.replace("_", "").lower()


def _messages(
    stem: str, features: tuple[Field, ...], outputs: tuple[Field, ...], schema: schema_pb2.Schema
) -> Iterator[Message]:
    none = schema_pb2.ReservedFields()
    version = Field("version", 1, _STRING, comment="The version that answered.")
    error = Field(
        "error", 2, _MESSAGE, message=f"{stem}Error", comment="Why the row has no outputs; else unset."
    )
    yield Message(
        f"{stem}Row",
        "One row. A field that is not set is a missing value.",
        features,
        schema.reserved_features,
    )
    yield Message(
        f"{stem}Prediction",
        "What the model says of one row.",
        (version, error, *outputs),
        schema.reserved_outputs,
    )
    yield Message(
        f"{stem}Error",
        "Why a row has no outputs.",
        (
            Field("reason", 1, _STRING, comment="Like MISSING_VALUE, NUMBER_OUT_OF_RANGE or UNKNOWN_TEXT."),
            Field(
                "feature", 2, _STRING, comment="The first feature that was wrong, by its name in the model."
            ),
            Field("message", 3, _STRING, comment="For people."),
        ),
        none,
    )
    rows = Field("rows", 1, _MESSAGE, repeated=True, message=f"{stem}Row", comment="At least one.")
    yield Message(f"{stem}Rows", "Many rows.", (rows,), none)
    predictions = Field(
        "predictions", 1, _MESSAGE, repeated=True, message=f"{stem}Prediction", comment="One for each row."
    )
    yield Message(f"{stem}Predictions", "What the model says of many rows, in order.", (predictions,), none)


def _describe(message: Message, target: descriptor_pb2.DescriptorProto, package: str) -> None:
    for field in sorted(message.fields, key=lambda each: each.number):
        added = target.field.add(
            name=field.name,
            number=field.number,
            type=field.type,
            label=_Type.LABEL_REPEATED if field.repeated else _Type.LABEL_OPTIONAL,
        )
        if field.message:
            added.type_name = f".{package}.{field.message}"
        if field.optional:
            # In proto3, an optional field is a oneof with one field.
            added.proto3_optional = True
            added.oneof_index = len(target.oneof_decl)
            target.oneof_decl.add(name=f"_{field.name}")
    for number in message.reserved.numbers:
        target.reserved_range.add(start=number, end=number + 1)
    target.reserved_name.extend(message.reserved.names)


def _body(message: Message) -> Iterator[str]:
    if message.reserved.numbers:
        yield f"  reserved {', '.join(map(str, message.reserved.numbers))};"
        yield "  reserved " + ", ".join(f'"{name}"' for name in message.reserved.names) + ";"
    for field in sorted(message.fields, key=lambda each: each.number):
        yield from _comment(field.comment, indent="  ")
        label = "repeated " if field.repeated else "optional " if field.optional else ""
        yield f"  {label}{field.message or _TYPE_NAMES[field.type]} {field.name} = {field.number};"


def _comment(text: str, indent: str = "") -> list[str]:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return [f"{indent}// {line}" for line in textwrap.wrap(printable, _COMMENT_WIDTH)]


def _feature_comment(feature: schema_pb2.Feature) -> str:
    parts = [feature.description.rstrip(".") or feature.name]
    if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
        if feature.whole:
            parts.append("A whole number")
        if (
            math.isfinite(feature.minimum)
            and math.isfinite(feature.maximum)
            and (feature.minimum or feature.maximum)
        ):
            parts.append(f"Seen: {feature.minimum:g} to {feature.maximum:g}")
    elif feature.vocabulary_size:
        others = "scored as unknown" if feature.unknown_allowed else "refused"
        parts.append(f"The model knows {feature.vocabulary_size} texts; others are {others}")
    if not feature.missing_allowed:
        parts.append("Must not be missing")
    elif math.isnan(feature.missing_share):
        parts.append("May be missing")
    else:
        parts.append(f"Missing in {feature.missing_share:.1%} of the sample")
    return ". ".join(parts) + "."


def _output_comment(output: schema_pb2.OutputSchema) -> str:
    labels = list(output.class_labels[:_WIDEST_LABELS])
    listed = ", ".join(map(repr, labels)) + (", ..." if len(output.class_labels) > len(labels) else "")
    if output.kind == schema_pb2.OUTPUT_KIND_PROBABILITY:
        return f"The probabilities of {listed}."
    if output.kind == schema_pb2.OUTPUT_KIND_CLASS:
        return f"The predicted class: {listed}."
    return output.name if output.width == 1 else f"{output.name}, {output.width} values."
