"""Messages that the documentation of each system spells out, and those of a user's path
through it: the form, the message, and its values by the names of its fields."""

ASSIGNED = {
    "node_id": "node-7",
    "node_endpoint": "203.0.113.7:50054",
    "auth_token": "eyJhbGciOiJFZERTQSJ9.e30.AA",
    "token_expires_at": 1_760_003_600,
    "node_public_key": "ed25519:AAEC",
}
RUNNING = {
    "job_id": "job-1",
    "status": "STATUS_RUNNING",
    "progress": 0.5,
    "current_node_id": "node-7",
    "start_time": 1_760_000_000,
    "metrics": {"loss": 0.125},
    "current_epoch": 3,
}
CYXWIZ = [
    (
        "documented",
        "cyxwiz.protocol.SubmitJobRequest",
        {"config": {"job_type": "JOB_TYPE_TRAINING", "dataset_uri": "ipfs://..."}},
    ),
    (
        "documented",
        "cyxwiz.protocol.JobConfig",
        {
            "job_id": "job-1",
            "job_type": "JOB_TYPE_TRAINING",
            "priority": "PRIORITY_CRITICAL",
            "model_definition": '{"layers":[{"type":"dense","units":10}]}',
            "hyperparameters": {"learning_rate": "0.001"},
            "dataset_uri": "file://mnist",
            "batch_size": 32,
            "epochs": 10,
            "required_device": "DEVICE_METAL",
            "estimated_memory": 8 << 30,
            "estimated_duration": 3600,
            "payment_amount": 1.5,
            "payment_address": "wallet-1",
            "escrow_tx_hash": "tx-1",
        },
    ),
    (
        "documented",
        "cyxwiz.protocol.SubmitJobResponse",
        {
            "job_id": "job-1",
            "status": "STATUS_QUEUED",
            "node_assignment": ASSIGNED,
            "assigned_node_id": "node-7",
            "estimated_start_time": 1_760_000_000,
        },
    ),
    (
        "documented",
        "cyxwiz.protocol.GetJobStatusResponse",
        {"status": RUNNING, "node_assignment": ASSIGNED},
    ),
    (
        "documented",
        "cyxwiz.protocol.GetJobStatusResponse",
        {"error": {"code": 2, "message": "not found", "details": "{}"}},
    ),
    (
        "shipped",
        "cyxwiz.protocol.GetJobStatusResponse",
        {"status": RUNNING | {"status": "STATUS_IN_PROGRESS"}, "node_assignment": ASSIGNED},
    ),
    (
        "documented",
        "cyxwiz.protocol.JobUpdateStream",
        {
            "job_id": "job-1",
            "status": RUNNING,
            "live_metrics": {"accuracy": 0.75},
            "log_message": "epoch 3",
            "visualization_data": b"\x89PNG",
        },
    ),
    (
        "documented",
        "cyxwiz.protocol.ListJobsResponse",
        {"jobs": [RUNNING, {"job_id": "job-0"}], "next_page_token": "2", "total_count": 7},
    ),
    (
        "documented",
        "cyxwiz.protocol.GetBalanceResponse",
        {"sol_balance": 0.5, "cyxwiz_balance": 12.25},
    ),
    (
        "shipped",
        "cyxwiz.protocol.GetBalanceResponse",
        {"status": "STATUS_SUCCESS", "sol_balance": 0.5, "cyxwiz_balance": 12.25},
    ),
    (
        "documented",
        "cyxwiz.protocol.RegisterNodeRequest",
        {
            "info": {
                "node_id": "node-7",
                "version": {"major": 1, "minor": 2, "patch": 3},
                "devices": [
                    {
                        "device_type": "DEVICE_CUDA",
                        "device_name": "RTX 4090",
                        "total_memory": 24 << 30,
                        "driver_version": "550.54",
                        "compute_score": 82.5,
                    }
                ],
                "is_online": True,
                "available_runtimes": ["python", "wasm"],
            },
            "authentication_token": "token",
            "public_key": bytes(range(32)),
        },
    ),
    (
        "shipped",
        "cyxwiz.protocol.DeviceCaps",
        {"device_type": "DEVICE_CUDA", "supports_fp64": True, "vram_total": 24 << 30},
    ),
    (
        "documented",
        "cyxwiz.protocol.HeartbeatResponse",
        {"status": "STATUS_SUCCESS", "keep_alive": True, "jobs_to_cancel": ["job-1", "job-2"]},
    ),
    (
        "documented",
        "cyxwiz.protocol.TrainingUpdate",
        {
            "job_id": "job-1",
            "timestamp": 1_760_000_000,
            "progress": {
                "current_epoch": 1,
                "total_epochs": 10,
                "progress_percentage": 10.5,
                "metrics": {"loss": 0.25},
                "gpu_memory_used": 1 << 33,
                "samples_per_second": 1024.5,
            },
        },
    ),
    (
        "documented",
        "cyxwiz.protocol.TrainingCommand",
        {
            "batch_response": {
                "status": "STATUS_SUCCESS",
                "request_id": 9,
                "images": b"\x00\x00\x80\x3f",
                "labels": b"\x01",
                "batch_shape": [1, 28, 28],
                "label_shape": [1],
            }
        },
    ),
    (
        "documented",
        "cyxwiz.protocol.ReserveNodeResponse",
        {
            "status": "STATUS_SUCCESS",
            "reservation_id": "res-1",
            "p2p_auth_token": "a.b.c",
            "escrow_amount": 100_000,
            "price_per_hour": 0.1,
            "error": {"code": 5},
        },
    ),
]

TITANCOMPUTE = [
    (
        "documented",
        "titancompute.v1.InferenceRequest",
        {
            "client_id": "test",
            "model": "llama3.1:8b-instruct-q4_k_m",
            "prompt": "Hello",
            "max_tokens": 10,
        },
    ),
    (
        "documented",
        "titancompute.v1.InferenceRequest",
        {"max_tokens": 100, "temperature": 0.5, "parameters": {"top_k": "40"}},
    ),
]

DIM = [
    (
        "documented",
        "dim.orchestrator.SubmitJobRequest",
        {
            "user_id": "user-123",
            "pattern": "PATTERN_COLLABORATIVE",
            "config_json": '{"model_id": "model-abc", "nodes": ["node-001"]}',
            "priority": "PRIORITY_NORMAL",
        },
    ),
    (
        "documented",
        "dim.orchestrator.JobStatusResponse",
        {
            "job_id": "job-0123456789ab",
            "status": "JOB_STATE_RUNNING",
            "pattern": "PATTERN_CHAINED",
            "progress": {"completed_steps": 1, "total_steps": 3, "percent_complete": 33},
            "nodes": [{"node_id": "node-001", "status": "running", "execution_time": "45.0s"}],
            "created_at": "2026-01-02T03:04:05Z",
        },
    ),
]

HIVEMIND = [
    (form, f"nodepool.{name}", values)
    for form in ("documented", "shipped")
    for name, values in (
        ("RegisterRequest", {"username": "testuser", "password": "password123"}),
        ("LoginRequest", {"username": "testuser", "password": "password123"}),
        ("GetBalanceRequest", {"username": "testuser", "token": "a.b.c"}),
    )
] + [
    (
        "documented",
        "nodepool.RegisterWorkerNodeRequest",
        {
            "node_id": "worker-001",
            "hostname": "192.168.1.100",
            "cpu_cores": 8,
            "memory_gb": 16,
            "cpu_score": 1000,
            "gpu_score": 2000,
            "gpu_memory_gb": 8,
            "location": "Asia/Taipei",
            "port": 50052,
            "gpu_name": "RTX 4090",
            "trust_level": 100,
            "last_heartbeat": 1640995200.0,
            "docker_status": "enabled",
        },
    ),
    ("documented", "nodepool.HealthCheckRequest", {"node_id": "worker-001"}),
    (
        "documented",
        "nodepool.UploadTaskRequest",
        {
            "task_id": "task-001",
            "task_data": b"print('Hello, HiveMind!')",
            "user_id": "user123",
        },
    ),
    ("documented", "nodepool.PollTaskStatusRequest", {"task_id": "task-001"}),
    (
        "documented",
        "nodepool.RunningStatusRequest",
        {
            "node_id": "worker-001",
            "task_id": "task-001",
            "cpu_usage": 75,
            "memory_usage": 60,
            "gpu_usage": 85,
            "gpu_memory_usage": 70,
        },
    ),
]

ZISK = [
    ("documented", f"zisk.distributed.api.v1.{name}", values)
    for name, values in (
        ("JobsListRequest", {"active_only": True}),
        ("ProversListRequest", {"available_only": True}),
        ("JobStatusRequest", {"job_id": "job_123"}),
        (
            "LaunchProofRequest",
            {"block_id": "block_456", "compute_capacity": 4, "input_path": "/path/to/input"},
        ),
        (
            "ProverMessage",
            {
                "register": {
                    "prover_id": "test-worker-001",
                    "compute_capacity": {"compute_units": 8},
                }
            },
        ),
        (
            "ProverMessage",
            {
                "execute_task_response": {
                    "job_id": "job_123",
                    "prover_id": "test-worker-001",
                    "task_type": "PROVE",
                    "success": True,
                    "proofs": {
                        "proofs": [
                            {"worker_idx": 1, "airgroup_id": 2, "values": [(1 << 64) - 1, 300]}
                        ]
                    },
                }
            },
        ),
        (
            "CoordinatorMessage",
            {
                "execute_task": {
                    "prover_id": "test-worker-001",
                    "job_id": "job_123",
                    "contribution_params": {
                        "block_id": "block_456",
                        "rank_id": 1,
                        "total_provers": 2,
                        "worker_allocation": [0, 2, 300],
                        "job_compute_units": 4,
                    },
                }
            },
        ),
    )
]

OF = {
    "cyxwiz": CYXWIZ,
    "dim": DIM,
    "hivemind": HIVEMIND,
    "titancompute": TITANCOMPUTE,
    "zisk": ZISK,
}
