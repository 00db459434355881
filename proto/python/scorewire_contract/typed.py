"""A model's typed schema: a protobuf service of its own, with a named field for each feature and output.

The rules:

- The package is scorewire.models.<name>.v<major>. In <name>, the letter after a "-" is
  a capital instead: game-revenue becomes gameRevenue. Names of models have no capitals,
  so no two models share a package. Servers also answer under the former package, in
  which "-" was "_H".
- A field's number never changes within a major version, and is never used for
  another field. Export gives new numbers to new features and reserves the numbers
  of features that are removed. All versions of a major version agree on what each
  number means.
- A field's name is the feature's name in ASCII letters, with "_" for characters that
  identifiers do not allow. If another field has the same name, in any of the
  spellings that code generators make of names, the field's number is appended. The
  field with the smaller number keeps the plain name.
- Export chooses the names, and a new version keeps those of the version before it.
  The schema has a field's name where it is not the plain name: the name with "_" for
  each letter that is not ASCII. Earlier bundles have plain names only.
- In the prediction, field 1 is the version that answered and field 2 the row's
  error; outputs begin at 3. The id of the record has the largest number that a field
  may have, so that outputs never meet it, and the explanation the one before. They
  give way to outputs with their names.
- The explanation has a message for each margin, in which each feature has its own
  name and number.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from google.protobuf import descriptor_pb2

from scorewire_contract.schema import Version
from scorewire_proto.v1 import schema_pb2

PREDICT, PREDICT_BATCH, PREDICT_STREAM = "Predict", "PredictBatch", "PredictStream"
FIRST_FEATURE, FIRST_OUTPUT = 1, 3
# The names of fields of every prediction, which no output's field may have.
OWN_FIELDS = ("version", "error")
# The fields with the id of the prediction's record and with the explanation. Where an output has such a name,
# the field's has a prefix.
PREDICTION_ID, PREDICTION_ID_NUMBER = "prediction_id", (1 << 29) - 1
EXPLANATION, EXPLANATION_NUMBER = "explanation", PREDICTION_ID_NUMBER - 1
_PREFIX = "scorewire_"
_PATHS = "/scorewire.models."
_RESERVED_BY_PROTOBUF = range(19_000, 20_000)
_MAX_IDENTIFIER = 1_000
_FIELD_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{2 * _MAX_IDENTIFIER}}}")
_COMMENT_WIDTH = 92
_WIDEST_LABELS = 12

_Type: TypeAlias = descriptor_pb2.FieldDescriptorProto
_DOUBLE, _STRING, _MESSAGE = _Type.TYPE_DOUBLE, _Type.TYPE_STRING, _Type.TYPE_MESSAGE
_TYPE_NAMES = {_DOUBLE: "double", _STRING: "string"}
# Features, or outputs.
Named: TypeAlias = "Sequence[schema_pb2.Feature | schema_pb2.OutputSchema]"


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

    `features` and `outputs` are the fields in schema order. `prediction_id` is the field
    with the id of the prediction's record, `explanation` that with the explanation.
    `former_package` is the name of the package in earlier releases.
    """

    package: str
    former_package: str
    stem: str
    comment: str
    features: tuple[Field, ...]
    outputs: tuple[Field, ...]
    prediction_id: Field
    explanation: Field
    messages: tuple[Message, ...]

    @property
    def former(self) -> TypedSchema:
        """The schema under the name of its package in earlier releases."""
        return replace(self, package=self.former_package)

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
    """The package of a major version of a model; no two models have the same, nor another's former one.

    A digit after "-" has no capital, so it gets an "n" before it: churn-2024 becomes
    churnN2024, and churn-n2024 churnNn2024. Names with "-" at the end or beside another
    "-" or "_" keep their former package.
    """
    if re.search("_-|-(?![a-z0-9])", model):
        return former_package_of(model, major)
    lettered = re.sub("-(?=n*[0-9])", "-n", model)
    name = re.sub("-(.)", lambda match: match[1].upper(), lettered)
    return f"scorewire.models.{name}.v{major}"


def former_package_of(model: str, major: int) -> str:
    """The package that earlier releases gave a major version of a model."""
    return f"scorewire.models.{model.replace('-', '_H')}.v{major}"


def model_of(path: str) -> str | None:
    """The model whose typed service the path of a method is of, whether there is such a model or not.

    Returns:
        The name; None for a path of another kind.
    """
    if not path.startswith(_PATHS):
        return None
    name = re.split("[./]", path.removeprefix(_PATHS), maxsplit=1)[0]
    if "_H" in name:
        return name.replace("_H", "-")
    # The inverse of `package_of`.
    lettered = re.sub("[A-Z]", lambda match: f"-{match[0].lower()}", name)
    return re.sub("-n(?=n*[0-9])", "-", lettered)


def typed_schema(model: str, version: str, schema: schema_pb2.Schema, description: str = "") -> TypedSchema:
    """Make the typed schema of a version.

    Args:
        model: the model's name.
        version: the semantic version.
        schema: the version's schema; without field numbers, fields are numbered by position.
        description: the model's description, for people.

    Raises:
        ValueError: two fields have the same number or name, or a field has a reserved
            number or a name that is not an identifier.
    """
    stem = "".join(part.capitalize() for part in re.split("[_-]", model))
    major = Version(version).major
    feature_numbers = _numbers(schema.features, FIRST_FEATURE)
    output_numbers = _numbers(schema.outputs, FIRST_OUTPUT)
    _check_numbers(feature_numbers, schema.reserved_features, FIRST_FEATURE)
    own_numbers = (EXPLANATION_NUMBER, PREDICTION_ID_NUMBER)
    _check_numbers([*output_numbers, *own_numbers], schema.reserved_outputs, FIRST_OUTPUT)
    feature_names = _names(schema.features, feature_numbers, schema.reserved_features.names)
    output_names = _names(schema.outputs, output_numbers, [*schema.reserved_outputs.names, *OWN_FIELDS])
    features = tuple(
        Field(
            name,
            number,
            _DOUBLE if each.kind == schema_pb2.FEATURE_KIND_NUMBER else _STRING,
            optional=True,
            comment=_with_name(each.name, name, _feature_comment(each)),
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
            comment=_with_name(each.name, name, _output_comment(each)),
        )
        for each, name, number in zip(schema.outputs, output_names, output_numbers, strict=True)
    )
    taken = [*output_names, *schema.reserved_outputs.names]
    explanation = Field(
        _own_name(EXPLANATION, EXPLANATION_NUMBER, taken),
        EXPLANATION_NUMBER,
        _MESSAGE,
        message=f"{stem}Explanation",
        comment="Set if the call's metadata has scorewire-explain.",
    )
    prediction_id = Field(
        _own_name(PREDICTION_ID, PREDICTION_ID_NUMBER, taken),
        PREDICTION_ID_NUMBER,
        _STRING,
        optional=True,
        comment="The id of the prediction's record; unset where the server keeps none.",
    )
    return TypedSchema(
        package=package_of(model, major),
        former_package=former_package_of(model, major),
        stem=stem,
        comment=f"Model {model}, version {version}. {description}".strip(),
        features=features,
        outputs=outputs,
        prediction_id=prediction_id,
        explanation=explanation,
        messages=tuple(_messages(stem, features, (*outputs, explanation, prediction_id), schema)),
    )


def usable_numbers(first: int) -> Iterator[int]:
    """The numbers from `first` on that a field may have."""
    return (number for number in count(first) if number not in _RESERVED_BY_PROTOBUF)


def _numbers(named: Named, first: int) -> list[int]:
    numbers = [each.field_number for each in named]
    return numbers if any(numbers) else [n for _, n in zip(numbers, usable_numbers(first), strict=False)]


def _check_numbers(numbers: list[int], reserved: schema_pb2.ReservedFields, first: int) -> None:
    known = {*reserved.numbers, *_RESERVED_BY_PROTOBUF, *range(first)}
    if len(set(numbers)) < len(numbers) or not known.isdisjoint(numbers):
        raise ValueError("two fields of the typed schema have one number, or a reserved one")
    if len(reserved.numbers) != len(reserved.names):
        raise ValueError("the typed schema must reserve as many names as numbers")


def identifier(text: str) -> str:
    """An identifier that is as near to a text as ASCII letters, digits and "_" allow."""
    plain = re.sub("_+", "_", re.sub("[^A-Za-z0-9_]", "_", text)).strip("_")[:_MAX_IDENTIFIER]
    return plain if plain[:1].isalpha() else f"f_{plain}".rstrip("_")


def fold(name: str) -> str:
    """The letters of a name that stay in every spelling that code generators make of it."""
    return name.replace("_", "").lower()


def distinct(name: str, number: int, used: set[str]) -> str:
    """A name with the field's number appended while `used` has it folded; joins `used`."""
    while fold(name) in used:
        name = f"{name}_{number}"
    used.add(fold(name))
    return name


def _names(named: Named, numbers: list[int], taken: Iterable[str]) -> list[str]:
    """The name of each field: its own, else the plain name."""
    used = {fold(name) for name in taken}
    for name in (each.field_name for each in named if each.field_name):
        if _FIELD_NAME.fullmatch(name) is None or fold(name) in used:
            raise ValueError("two fields of the typed schema have one name, or a name is not an identifier")
        used.add(fold(name))
    names: dict[int, str] = {}
    for number, each in sorted(zip(numbers, named, strict=True), key=lambda pair: pair[0]):
        names[number] = each.field_name or distinct(identifier(each.name), number, used)
    return [names[number] for number in numbers]


def _own_name(name: str, number: int, taken: Iterable[str]) -> str:
    used = {fold(each) for each in taken}
    return name if fold(name) not in used else distinct(_PREFIX + name, number, used)


def _messages(
    stem: str, features: tuple[Field, ...], answered: tuple[Field, ...], schema: schema_pb2.Schema
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
        (version, error, *answered),
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
    margins = Field("margins", 3, _MESSAGE, repeated=True, message=f"{stem}Margin", comment="In their order.")
    yield Message(
        f"{stem}Explanation",
        "What each feature contributes to an output.",
        (
            Field("output", 1, _STRING, comment="The output's name in the model."),
            Field("link", 2, _STRING, comment="The function from margins to the output, such as sigmoid."),
            margins,
        ),
        none,
    )
    yield Message(
        f"{stem}Margin",
        "A margin: the sum of its base and of all contributions.",
        (
            Field("label", 1, _STRING, comment="For an output of classes, the class."),
            Field("base", 2, _DOUBLE, optional=True, comment="The expected margin over the training rows."),
            Field("margin", 3, _DOUBLE, optional=True, comment="The margin of the row."),
            Field("contributions", 4, _MESSAGE, message=f"{stem}Contributions", comment="By feature."),
        ),
        none,
    )
    yield Message(
        f"{stem}Contributions",
        "What each feature contributes to a margin. Only the strongest are set where the call asks for some.",
        tuple(replace(each, type=_DOUBLE, comment="") for each in features),
        schema.reserved_features,
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


def _with_name(name: str, field: str, comment: str) -> str:
    """A field's comment, with the name in the model where the field has another one."""
    return comment if name == field or comment.startswith(name) else f"{name!r}: {comment}"


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
