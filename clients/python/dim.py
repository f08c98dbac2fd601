"""A client of DIM: submits a collaborative job over some nodes, waits for its end, and
fetches the result."""

import json

import grpc

import client

common, orchestrator_pb2, orchestrator_pb2_grpc = client.generate(
    "dim", "common_pb2", "orchestrator_pb2", "orchestrator_pb2_grpc"
)
OVER = (common.JOB_STATE_COMPLETED, common.JOB_STATE_FAILED, common.JOB_STATE_CANCELLED)


def main():
    asked = client.arguments(
        __doc__, model="model-abc", node=[], input="null", user="user-123"
    )
    config = {"model_id": asked.model, "nodes": asked.node, "input_data": json.loads(asked.input)}
    with grpc.insecure_channel(asked.address) as channel:
        stub = orchestrator_pb2_grpc.OrchestratorStub(channel)
        submitted = stub.SubmitJob(
            orchestrator_pb2.SubmitJobRequest(
                user_id=asked.user,
                pattern=common.PATTERN_COLLABORATIVE,
                config_json=json.dumps(config),
                priority=common.PRIORITY_NORMAL,
            ),
            timeout=client.CALL,
        )
        ask = orchestrator_pb2.GetJobStatusRequest(job_id=submitted.job_id)
        status = client.until(
            submitted.job_id,
            lambda: stub.GetJobStatus(ask, timeout=client.CALL),
            lambda status: status.status in OVER,
        )
        if status.status != common.JOB_STATE_COMPLETED:
            raise client.Unexpected(f"the job has failed: {status.error}")
        result = stub.GetJobResult(
            orchestrator_pb2.GetJobResultRequest(job_id=submitted.job_id), timeout=client.CALL
        )
        listed = stub.ListJobs(
            orchestrator_pb2.ListJobsRequest(user_id=asked.user, limit=10), timeout=client.CALL
        )
    return {
        "job": submitted.job_id,
        "submitted": submitted.status,
        "status": common.JobState.Name(status.status),
        "percent": status.progress.percent_complete,
        "nodes": [node.node_id for node in status.nodes],
        "result": json.loads(result.result_json),
        "nodes_used": result.metadata.nodes_used,
        "listed": [job.job_id for job in listed.jobs],
    }


client.run(main)
