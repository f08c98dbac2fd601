"""What grpcurl does, by reflection alone: `-plaintext`, `-d`, `list`, `describe` and a
call. It knows no `.proto` file, answers in grpcurl's words, and ends with its codes."""

import argparse
import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

# What grpcurl adds to a status for its exit code.
STATUS = 64
TIMEOUT = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-d", default="", metavar="JSON")
    parser.add_argument("-H", action="append", default=[], metavar="NAME: VALUE")
    parser.add_argument("address")
    parser.add_argument("words", nargs="+", help="list, describe or SERVICE/METHOD")
    return parser.parse_args()


def type_of(field):
    """The type of a field, as a `.proto` file spells it."""
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            return f"map<{type_of(entry['key'])}, {type_of(entry['value'])}>"
        return f".{field.message_type.full_name}"
    if field.enum_type is not None:
        return f".{field.enum_type.full_name}"
    names = {
        field.TYPE_DOUBLE: "double",
        field.TYPE_FLOAT: "float",
        field.TYPE_INT64: "int64",
        field.TYPE_UINT64: "uint64",
        field.TYPE_INT32: "int32",
        field.TYPE_UINT32: "uint32",
        field.TYPE_BOOL: "bool",
        field.TYPE_STRING: "string",
        field.TYPE_BYTES: "bytes",
    }
    return names[field.type]


def spelled(field):
    kind = type_of(field)
    label = "repeated " if field.is_repeated and not kind.startswith("map<") else ""
    return f"{label}{kind} {field.name} = {field.number};"


def describe_service(service):
    lines = [f"{service.full_name} is a service:", f"service {service.name} {{"]
    for method in sorted(service.methods, key=lambda method: method.name):
        asks = "stream " if method.client_streaming else ""
        answers = "stream " if method.server_streaming else ""
        lines.append(
            f"  rpc {method.name} ( {asks}.{method.input_type.full_name} )"
            f" returns ( {answers}.{method.output_type.full_name} );"
        )
    return [*lines, "}"]


def describe_message(message):
    lines = [f"{message.full_name} is a message:", f"message {message.name} {{"]
    lines += [f"  {spelled(field)}" for field in message.fields]
    return [*lines, "}"]


def service_of(pool, name):
    try:
        return pool.FindServiceByName(name)
    except KeyError:
        sys.exit(f'Failed to find service "{name}": the server knows no such service')


def describe(pool, name):
    for find, words in (
        (pool.FindServiceByName, describe_service),
        (pool.FindMessageTypeByName, describe_message),
    ):
        try:
            return words(find(name))
        except KeyError:
            continue
    sys.exit(f'Failed to resolve symbol "{name}": the server knows no such symbol')


def call(channel, pool, path, text, metadata):
    """Calls a method with messages in JSON, one after the other. The answers."""
    service, _, name = path.rpartition("/")
    method = service_of(pool, service).methods_by_name.get(name)
    if method is None:
        sys.exit(
            f'Error invoking method "{path}": service "{service}"'
            f' does not include a method named "{name}"'
        )
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    asked, decoder = [], json.JSONDecoder()
    text = text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        asked.append(json_format.ParseDict(value, request(), descriptor_pool=pool))
        text = text[end:].strip()
    stub = channel.stream_stream(
        f"/{path}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    if not asked and not method.client_streaming:
        asked = [request()]
    for message in stub(iter(asked), timeout=TIMEOUT, metadata=metadata):
        yield json_format.MessageToJson(message, descriptor_pool=pool)


def lines(said, channel, database, pool):
    verb, *names = said.words
    if verb == "list" and not names:
        return sorted(database.get_services())
    if verb == "list":
        service = service_of(pool, names[0])
        return sorted(f"{service.full_name}.{method.name}" for method in service.methods)
    if verb == "describe":
        return describe(pool, *names)
    metadata = [tuple(part.strip() for part in header.split(":", 1)) for header in said.H]
    metadata = [(name.lower(), value) for name, value in metadata]
    return call(channel, pool, verb, said.d, metadata)


def main():
    said = arguments()
    with grpc.insecure_channel(said.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        try:
            for line in lines(said, channel, database, descriptor_pool.DescriptorPool(database)):
                print(line)
        except grpc.RpcError as error:
            code, name = error.code().value
            name = "".join(word.capitalize() for word in name.split())
            print(f"ERROR:\n  Code: {name}\n  Message: {error.details()}", file=sys.stderr)
            sys.exit(STATUS + code)


main()
