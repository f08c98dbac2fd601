"""A client of HiveMind: registers a user and logs in, uploads a task, waits for its end,
and fetches its result and its logs."""

import io
import pathlib
import zipfile

import grpc

import client

pb, stubs = client.generate("hivemind", "nodepool_pb2", "nodepool_pb2_grpc")
OVER = ("COMPLETED", "FAILED", "STOPPED")
PROGRAM = """\
print('Hello, HiveMind!')
with open('answer.txt', 'w') as file:
    file.write('42')
"""


def task():
    """A task, as its documentation has them: an archive with a program."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", PROGRAM)
    return packed.getvalue()


def succeeded(what, response):
    if not response.success:
        raise client.Unexpected(f"{what}: {response.message}")
    return response


def main():
    asked = client.arguments(
        __doc__, user="testuser", password="password123", task="task-001", save=""
    )
    if asked.save:
        pathlib.Path(asked.save).write_bytes(task())
    with grpc.insecure_channel(asked.address) as channel:
        users = stubs.UserServiceStub(channel)
        master = stubs.MasterNodeServiceStub(channel)
        words = {"username": asked.user, "password": asked.password}
        succeeded("register", users.Register(pb.RegisterRequest(**words), timeout=client.CALL))
        login = users.Login(pb.LoginRequest(**words), timeout=client.CALL)
        token = succeeded("login", login).token
        again = users.Register(pb.RegisterRequest(**words), timeout=client.CALL)
        wrong = users.Login(
            pb.LoginRequest(username=asked.user, password="wrong"), timeout=client.CALL
        )
        call = {"timeout": client.CALL, "metadata": client.bearer(token)}
        balance = users.GetBalance(
            pb.GetBalanceRequest(username=asked.user, token=token), timeout=client.CALL
        )
        succeeded("balance", balance)
        upload = pb.UploadTaskRequest(task_id=asked.task, task_data=task(), user_id=asked.user)
        succeeded("upload", master.UploadTask(upload, **call))
        twice = master.UploadTask(upload, **call)
        status = client.until(
            asked.task,
            lambda: master.PollTaskStatus(pb.PollTaskStatusRequest(task_id=asked.task), **call),
            lambda answer: answer.status in OVER,
        )
        result = master.GetTaskResult(pb.GetTaskResultRequest(task_id=asked.task), **call)
        succeeded("result", result)
        logs = master.GetTaskLogs(pb.GetTaskLogsRequest(task_id=asked.task), **call)
        tasks = master.GetAllTasks(pb.GetAllTasksRequest(), **call)
    with zipfile.ZipFile(io.BytesIO(result.result_data)) as archive:
        files = {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}
    return {
        "twice_registered": again.success,
        "wrong_password": wrong.success,
        "balance": balance.balance,
        "twice_uploaded": twice.success,
        "status": status.status,
        "message": status.message,
        "output": list(status.output),
        "files": files,
        "logs": logs.logs,
        "tasks": {task.task_id: task.status for task in tasks.tasks},
    }


client.run(main)
