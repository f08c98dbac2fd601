"""A client of ZisK distributed: two provers that dial in and do the three phases of a
proof, and an operator who launches it. What is proven is a sum."""

import queue
import threading

import grpc
from google.protobuf import json_format

import client

pb, stubs = client.generate("zisk", "zisk_distributed_api_pb2", "zisk_distributed_api_pb2_grpc")
MODULUS = (1 << 61) - 1


class Prover:
    """A prover: its stream, and what it was told."""

    def __init__(self, channel, name, units):
        self.name, self.told, self.proofs = name, [], []
        self.says, self.registered = queue.Queue(), queue.Queue()
        capacity = pb.ComputeCapacity(compute_units=units)
        register = pb.ProverRegisterRequest(prover_id=name, compute_capacity=capacity)
        self.says.put(pb.ProverMessage(register=register))
        self.says.put(pb.ProverMessage(heartbeat_ack=pb.HeartbeatAck(prover_id=name)))
        stub = stubs.ZiskDistributedApiStub(channel)
        self.stream = stub.ProverStream(iter(self.says.get, None))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        try:
            for message in self.stream:
                self.hear(message)
        except grpc.RpcError as error:
            self.registered.put(error)

    def hear(self, message):
        kind = message.WhichOneof("payload")
        if kind == "register_response":
            self.registered.put(message.register_response)
        elif kind == "heartbeat":
            ack = pb.HeartbeatAck(prover_id=self.name)
            self.says.put(pb.ProverMessage(heartbeat_ack=ack))
        elif kind == "execute_task":
            task = message.execute_task
            self.told.append(pb.TaskType.Name(task.task_type))
            answer = pb.ExecuteTaskResponse(
                job_id=task.job_id, prover_id=self.name, task_type=task.task_type, success=True
            )
            self.work(task, answer)
            self.says.put(pb.ProverMessage(execute_task_response=answer))
        elif kind == "job_cancelled":
            self.told.append("CANCELLED")

    def work(self, task, answer):
        """Commits to the units, adds up the challenges, adds up the proofs."""
        if task.task_type == pb.PARTIAL_CONTRIBUTION:
            params = task.contribution_params
            self.units, self.rank = list(params.worker_allocation), params.rank_id
            answer.challenges.challenges.add(
                worker_index=self.rank, airgroup_id=0, challenge=[1 + sum(self.units)]
            )
        elif task.task_type == pb.PROVE:
            given = [list(each.challenge) for each in task.prove_params.challenges]
            total = sum(sum(each) for each in given) * (1 + sum(self.units)) % MODULUS
            self.proofs = [total]
            answer.proofs.proofs.add(worker_idx=self.rank, airgroup_id=0, values=[total])
        else:
            for proof in task.agg_params.agg_proofs.proofs:
                self.proofs += proof.values
            answer.final_proof.SetInParent()
            if task.agg_params.last_proof:
                answer.final_proof.final_proofs.add(values=[sum(self.proofs) % MODULUS])

    def wait(self):
        """Until the coordinator has answered to the registration."""
        answer = self.registered.get(timeout=client.CALL)
        if isinstance(answer, grpc.RpcError):
            raise answer
        if not answer.accepted:
            raise client.Unexpected(f"{self.name} is not accepted: {answer.message}")

    def leave(self):
        self.says.put(None)
        self.thread.join(timeout=client.CALL)


def main():
    asked = client.arguments(__doc__, block="block_456", input="/path/to/input", units=4)
    with grpc.insecure_channel(asked.address) as channel:
        stub = stubs.ZiskDistributedApiStub(channel)

        def ask(method, request):
            answer = getattr(stub, method)(request, timeout=client.CALL)
            return json_format.MessageToDict(answer, preserving_proto_field_name=True)

        ask("HealthCheck", pb.HealthCheckRequest())
        info = ask("StatusInfo", pb.StatusInfoRequest())
        proof = pb.LaunchProofRequest(
            block_id=asked.block, compute_capacity=asked.units, input_path=asked.input
        )
        nobody = ask("LaunchProof", proof)
        provers = [Prover(channel, f"test-worker-00{at}", 2) for at in (1, 2)]
        for prover in provers:
            prover.wait()
        status = ask("SystemStatus", pb.SystemStatusRequest())
        listed = ask("ProversList", pb.ProversListRequest(available_only=True))
        launched = stub.LaunchProof(proof, timeout=client.CALL)
        if launched.WhichOneof("result") == "error":
            raise client.Unexpected(f"the proof is not launched: {launched.error.message}")
        job = client.until(
            launched.job_id,
            lambda: stub.JobStatus(
                pb.JobStatusRequest(job_id=launched.job_id), timeout=client.CALL
            ),
            lambda answer: answer.job.state in ("Completed", "Failed"),
        )
        active = ask("JobsList", pb.JobsListRequest(active_only=True))
        jobs = ask("JobsList", pb.JobsListRequest())
        unknown = ask("JobStatus", pb.JobStatusRequest(job_id="job_123"))
        for prover in provers:
            prover.leave()
    return {
        "service": info["service_name"],
        "nobody": nobody.get("error", {}).get("code"),
        "capacity": status["status"]["compute_capacity"],
        "provers": [prover["prover_id"] for prover in listed["provers_list"]["provers"]],
        "state": job.job.state,
        "phase": job.job.phase,
        "assigned": list(job.job.assigned_provers),
        "told": {prover.name: prover.told for prover in provers},
        "active": len(active.get("jobs_list", {}).get("jobs", [])),
        "jobs": [job["job_id"] for job in jobs["jobs_list"]["jobs"]],
        "job": launched.job_id,
        "unknown": unknown.get("error", {}).get("code"),
    }


client.run(main)
