"""A client of TitanCompute: asks the coordinator which agent answers, and streams the
tokens from there."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import client

pb, stubs = client.generate("titancompute", "titancompute_pb2", "titancompute_pb2_grpc")


def main():
    asked = client.arguments(
        __doc__, model="llama3.1:8b-instruct-q4_k_m", prompt="Hello", client="test", tokens=10
    )
    with grpc.insecure_channel(asked.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        healthy = health.Check(health_pb2.HealthCheckRequest(), timeout=client.CALL)
        coordinator = stubs.CoordinatorServiceStub(channel)
        status = coordinator.QuerySystemStatus(
            pb.StatusRequest(include_agents=True), timeout=client.CALL
        )
        key = coordinator.GetPublicKey(pb.PublicKeyRequest(), timeout=client.CALL)
        session = coordinator.RequestInference(
            pb.InferenceRequest(
                client_id=asked.client,
                model=asked.model,
                prompt=asked.prompt,
                max_tokens=asked.tokens,
            ),
            timeout=client.CALL,
        )
    with grpc.insecure_channel(session.agent_endpoint) as channel:
        agent = stubs.AgentServiceStub(channel)
        stream = agent.StreamInference(
            pb.StreamRequest(
                session_token=session.session_token,
                model=asked.model,
                prompt=asked.prompt,
                max_tokens=asked.tokens,
                stream=True,
                options={"seed": "7"},
            ),
            timeout=client.JOB,
        )
        pieces = list(stream)
    return {
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(healthy.status),
        "agents": [agent.agent_id for agent in status.agents],
        "algorithm": key.algorithm,
        "agent": session.agent_id,
        "job": session.job_id,
        "pieces": len(pieces),
        "text": "".join(piece.content for piece in pieces),
        "done": [piece.done for piece in pieces].index(True) == len(pieces) - 1,
    }


client.run(main)
