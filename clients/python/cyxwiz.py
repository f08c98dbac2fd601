"""A client of CyxWiz: submits a training, streams its updates, lists the jobs, and ends
one that would train for long."""

import pathlib

import grpc

import client

common, job_pb2, job_pb2_grpc = client.generate(
    "cyxwiz", "common_pb2", "job_pb2", "job_pb2_grpc"
)
MODEL = '{"type": "mlp", "input_size": 4, "hidden_layers": [16], "output_size": 3}'
# Passes over the data that take many minutes.
LONG = 1_000_000


def main():
    asked = client.arguments(
        __doc__, data="", model=MODEL, hyper=[], epochs=20, token="", wallet=""
    )
    metadata = client.bearer(asked.token)

    def training(epochs):
        request = job_pb2.SubmitJobRequest()
        request.config.job_type = job_pb2.JOB_TYPE_TRAINING
        request.config.dataset_uri = "file:///saved-inline"
        request.config.model_definition = asked.model
        for pair in asked.hyper:
            name, _, value = pair.partition("=")
            request.config.hyperparameters[name] = value
        request.config.epochs = epochs
        request.config.batch_size = 16
        request.config.required_device = common.DEVICE_CPU
        request.config.payment_address = asked.wallet
        request.initial_data = pathlib.Path(asked.data).read_bytes()
        response = stub.SubmitJob(request, timeout=client.CALL, metadata=metadata)
        if response.HasField("error"):
            raise client.Unexpected(f"the job is refused: {response.error.message}")
        return response

    with grpc.insecure_channel(asked.address) as channel:
        stub = job_pb2_grpc.JobServiceStub(channel)
        submitted = training(asked.epochs)
        ask = job_pb2.GetJobStatusRequest(job_id=submitted.job_id)
        updates = list(
            stub.StreamJobUpdates(ask, timeout=client.JOB, metadata=metadata)
        )
        status = stub.GetJobStatus(ask, timeout=client.CALL, metadata=metadata)

        long = training(LONG)
        ask = job_pb2.GetJobStatusRequest(job_id=long.job_id)
        running = client.until(
            long.job_id,
            lambda: stub.GetJobStatus(ask, timeout=client.CALL, metadata=metadata),
            lambda answer: answer.status.status == common.STATUS_RUNNING,
        )
        cancelled = stub.CancelJob(
            job_pb2.CancelJobRequest(job_id=long.job_id, reason="enough"),
            timeout=client.CALL,
            metadata=metadata,
        )
        listed = stub.ListJobs(
            job_pb2.ListJobsRequest(user_id=asked.wallet, page_size=10),
            timeout=client.CALL,
            metadata=metadata,
        )
    name = common.StatusCode.Name
    return {
        "job": submitted.job_id,
        "submitted": name(submitted.status),
        "updates": len(updates),
        "last": name(updates[-1].status.status),
        "status": name(status.status.status),
        "progress": status.status.progress,
        "metrics": dict(status.status.metrics),
        "assigned": running.node_assignment.node_id,
        "long": long.job_id,
        "cancelled": name(cancelled.status),
        "listed": {job.job_id: name(job.status) for job in listed.jobs},
    }


client.run(main)
