#!/usr/bin/env python3
"""Makes the golden bytes: `python3 proto/tests/golden/make.py`, or with `--check`, which
writes nothing and fails where a file is not what would be made.

From the tables of each system (`<system>.txt`), and from the messages that its
documentation spells out (`examples.py`), by an encoder of its own (`wire.py`): neither
the `.proto` files nor generated code have a part in it. `<system>.json` has the methods,
and of every message several, so that each field, each arm of a oneof and each value of an
enum occurs, with numbers at the ends of their range.
"""

import json
import pathlib
import sys

# It leaves nothing beside itself but what it makes.
sys.dont_write_bytecode = True

import examples
import wire

HERE = pathlib.Path(__file__).parent
# How deep messages in messages are filled.
DEPTH = 2
# Fields of a message in a message that are filled.
BREADTH = 3


def value(package, field, kind, turn, depth):
    """A value of a type that another number, name or type would not give."""
    number = field.number
    low = turn == 1
    if kind == "string":
        return f"{field.name} {number}" if turn else f"{field.name} é"
    if kind == "bytes":
        return bytes([number, 0, 0xFF, turn])
    if kind == "bool":
        return True
    if kind == "int32":
        return -(1 << 31) if low else 1000 + number
    if kind == "uint32":
        return (1 << 32) - 1 if low else 1000 + number
    if kind == "int64":
        return -(1 << 63) if low else (1 << 40) + number
    if kind == "uint64":
        return (1 << 64) - 1 if low else (1 << 63) + number
    if kind == "float":
        return -0.5 if low else number + 0.25
    if kind == "double":
        return -1.5e300 if low else number + 0.1
    if kind == wire.TIMESTAMP:
        return 1_700_000_000 + number
    definition, owner = package.find(kind)
    if isinstance(definition, dict):
        words = [word for word, of in definition.items() if of]
        return words[turn % len(words)]
    if depth == 0:
        return {}
    few = [each for each in definition if each.kind in wire.SCALARS] or definition
    return filled(owner, few[:BREADTH], turn, depth - 1)


def filled(package, fields, turn, depth=DEPTH):
    """Values of every field; of a oneof the arm whose turn it is."""
    values = {}
    for field in fields:
        arms = [each.name for each in fields if field.oneof and each.oneof == field.oneof]
        if arms and arms[turn % len(arms)] != field.name:
            continue
        made = value(package, field, field.kind, turn, depth)
        if field.key:
            key = value(package, field, field.key, 0, depth)
            made = {key: made}
        elif field.repeated:
            made = [made, value(package, field, field.kind, turn + 2, depth)]
        elif field.present and turn == 1 and field.kind in wire.VARINTS:
            # There, and zero.
            made = type(made)(0)
        values[field.name] = made
    return values


def turns(package, fields):
    """How many of a message it takes until everything has occurred."""
    most = 2
    for field in fields:
        if field.oneof:
            most = max(most, sum(1 for each in fields if each.oneof == field.oneof))
        if field.kind not in wire.SCALARS and field.kind != wire.TIMESTAMP:
            definition, _ = package.find(field.kind)
            if isinstance(definition, dict):
                most = max(most, sum(1 for number in definition.values() if number))
    return most


def entry(package, name, values):
    hexadecimal, shown = wire.message(package, package.messages[name], values)
    return {
        "message": f"{package.name}.{name}",
        "form": package.form,
        "hex": hexadecimal.hex(),
        "json": shown,
    }


def made(system):
    """What the golden file of a system holds."""
    packages = wire.read(HERE / f"{system}.txt")
    methods, messages, fields = [], [], []
    for package in packages:
        methods += package.methods
        for name, those in package.messages.items():
            numbers = [field.number for field in those]
            one = {"message": f"{package.name}.{name}", "form": package.form}
            fields.append(one | {"numbers": numbers})
            for turn in range(turns(package, those) if those else 1):
                messages.append(entry(package, name, filled(package, those, turn)))
        for form, full_name, values in examples.OF[system]:
            owner, _, name = full_name.rpartition(".")
            if (form, owner) == (package.form, package.name):
                messages.append(entry(package, name, values))
    return {"methods": methods, "fields": fields, "messages": messages}


def text(golden):
    """One entry a line, so that a change is seen."""
    parts = []
    for name, entries in golden.items():
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in entries)
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main():
    stale = []
    for system in examples.OF:
        path = HERE / f"{system}.json"
        new = text(made(system))
        if "--check" not in sys.argv:
            path.write_text(new)
        elif not path.exists() or path.read_text() != new:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what make.py makes: {', '.join(stale)}")


main()
