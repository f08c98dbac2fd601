"""Protobuf's encoding and its JSON mapping, for messages that the tables describe.

Written from the specification of the encoding and of nothing else, so that what it
makes says something of code that was generated. A table has a section for each form
and package, and in it a line for each service, enum and message:

    msg NAME: NUMBER name TYPE; ...

where a type is a scalar, a name, `repeated TYPE`, `optional TYPE`, `map<KEY,TYPE>`, and
may be followed by `(oneof NAME)`.
"""

import base64
import datetime
import re
import struct

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINTS = ("int32", "int64", "uint32", "uint64", "bool")
SCALARS = (*VARINTS, "float", "double", "string", "bytes")
TIMESTAMP = "google.protobuf.Timestamp"


class Field:
    """One field of a message."""

    def __init__(self, text):
        found = re.fullmatch(
            r"(\d+) (\w+) (repeated |optional )?(?:map<(\w+),([\w.]+)>|([\w.]+))"
            r"(?: \(oneof (\w+)\))?",
            text,
        )
        if not found:
            raise ValueError(f"not a field: {text}")
        number, self.name, label, key, value, kind, self.oneof = found.groups()
        self.number = int(number)
        self.repeated = label == "repeated "
        self.present = label == "optional " or self.oneof is not None
        self.key = key
        self.kind = value or kind

    @property
    def json_name(self):
        return re.sub(r"_(.)", lambda found: found[1].upper(), self.name)


class Package:
    """The services, enums and messages of one package in one form."""

    def __init__(self, form, name, all_packages):
        self.form, self.name = form, name
        self.enums, self.messages, self.methods = {}, {}, []
        self.all_packages = all_packages

    def find(self, kind):
        """The enum or the fields of a name, and the package that has it."""
        for package in self.all_packages:
            if package.form != self.form:
                continue
            short = kind.removeprefix(package.name + ".")
            if package is not self and short == kind:
                continue
            for group in (package.enums, package.messages):
                if short in group:
                    return group[short], package
        raise KeyError(f"{self.name} has no {kind}")


def read(path):
    """The packages of a table."""
    packages = []
    service = None
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            _, form, name = line.split()
            packages.append(Package(form, name, packages))
        elif line.startswith("service "):
            service = line.split()[1]
        elif line.startswith("  "):
            found = re.fullmatch(r"  (\w+): (stream )?(\w+) -> (stream )?(\w+)", line)
            method, up, request, down, answer = found.groups()
            packages[-1].methods.append(
                {
                    "service": f"{packages[-1].name}.{service}",
                    "method": method,
                    "request": f"{packages[-1].name}.{request}",
                    "answer": f"{packages[-1].name}.{answer}",
                    "streams": [up is not None, down is not None],
                    "form": packages[-1].form,
                }
            )
        elif line.startswith("enum "):
            name, values = line[5:].split(": ", 1)
            values = [value.split() for value in values.split(", ")]
            packages[-1].enums[name] = {word: int(number) for number, word in values}
        elif line.startswith("msg "):
            name, fields = line[4:].split(": ", 1)
            fields = [] if fields == "(empty)" else fields.split("; ")
            packages[-1].messages[name] = [Field(field) for field in fields]
        elif line and not line.startswith("#"):
            raise ValueError(f"not a line of a table: {line}")
    return packages


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(number, wire_type):
    return varint(number << 3 | wire_type)


def delimited(number, body):
    return tag(number, BYTES) + varint(len(body)) + body


def scalar(kind, value):
    """The wire type of a scalar and its bytes without a tag or a length."""
    if kind in VARINTS:
        return VARINT, varint(int(value))
    if kind == "double":
        return FIXED64, struct.pack("<d", value)
    if kind == "float":
        return FIXED32, struct.pack("<f", value)
    return BYTES, value.encode() if kind == "string" else value


def scalar_json(kind, value):
    if kind in ("int64", "uint64"):
        return str(value)
    return base64.b64encode(value).decode() if kind == "bytes" else value


def one(package, kind, value):
    """The wire type, the bytes and the JSON of one value of a type."""
    if kind in SCALARS:
        wire_type, body = scalar(kind, value)
        return wire_type, body, scalar_json(kind, value)
    if kind == TIMESTAMP:
        body = tag(1, VARINT) + varint(value) if value else b""
        moment = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        return BYTES, body, moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    definition, owner = package.find(kind)
    if isinstance(definition, dict):
        return VARINT, varint(definition[value]), value
    return BYTES, *message(owner, definition, value)


def message(package, fields, values):
    """The bytes and the JSON of a message, from its values by the names of its fields."""
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise KeyError(f"no such fields: {unknown}")
    out, json = b"", {}
    for field in sorted(fields, key=lambda field: field.number):
        if field.name not in values:
            continue
        value = values[field.name]
        if field.key:
            json[field.json_name] = {}
            for key, item in value.items():
                entry = b""
                for number, (kind, part) in enumerate([(field.key, key), (field.kind, item)], 1):
                    wire_type, body, shown = one(package, kind, part)
                    length = varint(len(body)) if wire_type == BYTES else b""
                    entry += tag(number, wire_type) + length + body
                out += delimited(field.number, entry)
                json[field.json_name][str(key)] = shown
        elif field.repeated:
            parts = [one(package, field.kind, item) for item in value]
            if parts and parts[0][0] != BYTES:
                out += delimited(field.number, b"".join(body for _, body, _ in parts))
            else:
                out += b"".join(delimited(field.number, body) for _, body, _ in parts)
            json[field.json_name] = [shown for _, _, shown in parts]
        else:
            wire_type, body, shown = one(package, field.kind, value)
            length = varint(len(body)) if wire_type == BYTES else b""
            out += tag(field.number, wire_type) + length + body
            json[field.json_name] = shown
    return out, json
