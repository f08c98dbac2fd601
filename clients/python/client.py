"""What the clients share: stubs from the `.proto` files beside them, a port to call, and
one line of JSON at the end."""

import argparse
import atexit
import importlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import grpc
import grpc_tools
from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parent.parent / "protos"
# Seconds until a call that must answer at once has failed.
CALL = 30
# Seconds until a job that must end has failed.
JOB = 50


class Unexpected(Exception):
    """What was answered is not what the client can go on with."""


def generate(system, *names):
    """Compiles the `.proto` files of a system, as its documentation says, and imports what
    that makes: `dim_pb2` and `dim_pb2_grpc` for `dim`."""
    folder = tempfile.mkdtemp(prefix="stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = sorted(path.name for path in (PROTOS / system).glob("*.proto"))
    well_known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    words = [
        "protoc",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        f"--proto_path={PROTOS / system}",
        f"--proto_path={well_known}",
        *files,
    ]
    if protoc.main(words) != 0:
        raise Unexpected(f"the files of {system} do not compile")
    sys.path.insert(0, folder)
    return [importlib.import_module(name) for name in names]


def arguments(description, **more):
    """The address, and what else a client takes; a list for what may be given often."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("address", help="HOST:PORT")
    for name, default in more.items():
        words = {"action": "append"} if isinstance(default, list) else {}
        if isinstance(default, int):
            words["type"] = int
        parser.add_argument(f"--{name}", default=default, **words)
    return parser.parse_args()


def bearer(token):
    """The metadata that a token travels in."""
    return [("authorization", f"Bearer {token}")] if token else []


def until(what, ask, is_over):
    """Asks again until it is over. The last answer."""
    deadline = time.monotonic() + JOB
    while True:
        answer = ask()
        if is_over(answer):
            return answer
        if time.monotonic() > deadline:
            raise Unexpected(f"{what} does not end: {answer}")
        time.sleep(0.1)


def run(main):
    """Runs a client. What it saw is one line of JSON; a failure is one line on stderr."""
    try:
        seen = main()
    except grpc.RpcError as error:
        sys.exit(f"error: {error.code().name}: {error.details()}")
    except Unexpected as error:
        sys.exit(f"error: {error}")
    print(json.dumps(seen))
