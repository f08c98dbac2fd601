//! The generated types of requests and answers, which must make of golden bytes what they
//! were made of.

use embermesh_proto::{
    cyxwiz::{protocol as cyxwiz, shipped as cyxwiz_shipped},
    dim::{daemon as dim_daemon, orchestrator as dim_orchestrator, pattern_engine as dim_engine},
    hivemind::{nodepool, shipped as nodepool_shipped, taskworker},
    titancompute, zisk,
};
use prost::Message;

use super::{Entry, Form};

/// Fails unless the message is the same after it was read.
fn same<M: Message + Default>(entry: &Entry) -> bool {
    let bytes = entry.bytes();
    let Entry {
        message, form, hex, ..
    } = entry;
    let read = M::decode(&*bytes);
    let read = read.unwrap_or_else(|error| panic!("{form:?} {message} {hex}: {error}"));
    assert_eq!(read.encode_to_vec(), bytes, "{form:?} {message} {hex}");
    true
}

/// The messages of each package: a function that finds the type of an entry's name.
macro_rules! types {
    ($($form:ident $package:literal $module:ident { $($name:ident,)* })*) => {
        /// Checks an entry by its generated type; `false` where none is listed.
        pub(super) fn check(entry: &Entry) -> bool {
            match (entry.form, &*entry.message) {
                $($((Form::$form, concat!($package, ".", stringify!($name))) => {
                    same::<$module::$name>(entry)
                })*)*
                _ => false,
            }
        }
    };
}

types! {
    Documented "cyxwiz.protocol" cyxwiz {
        ComputeRequest, ComputeResponse, ExecuteGraphRequest, ExecuteGraphResponse,
        SubmitJobRequest, SubmitJobResponse, GetJobStatusRequest, GetJobStatusResponse,
        CancelJobRequest, CancelJobResponse, JobUpdateStream, ListJobsRequest, ListJobsResponse,
        DeleteJobRequest, DeleteJobResponse, RegisterNodeRequest, RegisterNodeResponse,
        HeartbeatRequest, HeartbeatResponse, AssignJobRequest, AssignJobResponse,
        ReportProgressRequest, ReportProgressResponse, ReportCompletionRequest,
        ReportCompletionResponse, GetNodeMetricsRequest, GetNodeMetricsResponse,
        JobAcceptedRequest, JobAcceptedResponse, FindNodesRequest, FindNodesResponse,
        ListNodesRequest, ListNodesResponse, GetNodeInfoRequest, GetNodeInfoResponse,
        UpdateJobStatusRequest, UpdateJobStatusResponse, ReportJobResultRequest,
        ReportJobResultResponse, CreateDeploymentRequest, CreateDeploymentResponse,
        GetDeploymentRequest, GetDeploymentResponse, ListDeploymentsRequest,
        ListDeploymentsResponse, StopDeploymentRequest, StopDeploymentResponse,
        DeleteDeploymentRequest, DeleteDeploymentResponse, GetDeploymentMetricsRequest,
        GetDeploymentMetricsResponse, UploadModelMetadataRequest, UploadModelMetadataResponse,
        ModelChunk, SimpleResponse, DownloadModelMetadataRequest, DownloadModelMetadataResponse,
        ListModelsRequest, ListModelsResponse, DeleteModelRequest, DeleteModelResponse,
        ConnectRequest, ConnectResponse, DisconnectRequest, DisconnectResponse, SendJobRequest,
        SendJobResponse, TrainingCommand, TrainingUpdate, DownloadRequest, WeightsChunk,
        PauseTrainingRequest, PauseTrainingResponse, ResumeTrainingRequest,
        ResumeTrainingResponse, CancelTrainingRequest, CancelTrainingResponse,
        StartNewJobRequest, StartNewJobResponse, InferRequest, InferResponse,
        GetModelInfoRequest, GetModelInfoResponse, ReserveNodeRequest, ReserveNodeResponse,
        ConfirmJobCompleteRequest, ConfirmJobCompleteResponse, ExtendReservationRequest,
        ExtendReservationResponse, ReleaseReservationRequest, ReleaseReservationResponse,
        GetReservationRequest, GetReservationResponse, ListReservationsRequest,
        ListReservationsResponse, EngineHeartbeatRequest, EngineHeartbeatResponse,
        GetActiveReservationsRequest, GetActiveReservationsResponse, GetReconnectionTokenRequest,
        GetReconnectionTokenResponse, ReportJobCompleteFromNodeRequest,
        ReportJobCompleteFromNodeResponse, ReportReservationEndFromEngineRequest,
        ReportReservationEndFromEngineResponse, ReportReservationEndFromNodeRequest,
        ReportReservationEndFromNodeResponse, ConnectWalletRequest, ConnectWalletResponse,
        GetBalanceRequest, GetBalanceResponse, GetTransactionHistoryRequest,
        GetTransactionHistoryResponse, EstimateJobCostRequest, EstimateJobCostResponse,
        CreateEscrowRequest, CreateEscrowResponse, ReleaseEscrowRequest, ReleaseEscrowResponse,
    }
    Shipped "cyxwiz.protocol" cyxwiz_shipped {
        SubmitJobRequest, SubmitJobResponse, GetJobStatusRequest, GetJobStatusResponse,
        CancelJobRequest, CancelJobResponse, JobUpdateStream, ListJobsRequest, ListJobsResponse,
        DeleteJobRequest, DeleteJobResponse, RegisterNodeRequest, RegisterNodeResponse,
        HeartbeatRequest, HeartbeatResponse, AssignJobRequest, AssignJobResponse,
        ReportProgressRequest, ReportProgressResponse, ReportCompletionRequest,
        ReportCompletionResponse, GetNodeMetricsRequest, GetNodeMetricsResponse,
        JobAcceptedRequest, JobAcceptedResponse, UpdateJobStatusRequest, UpdateJobStatusResponse,
        ReportJobResultRequest, ReportJobResultResponse, ConnectRequest, ConnectResponse,
        DisconnectRequest, DisconnectResponse, SendJobRequest, SendJobResponse, TrainingCommand,
        TrainingUpdate, DownloadRequest, WeightsChunk, PauseTrainingRequest,
        PauseTrainingResponse, ResumeTrainingRequest, ResumeTrainingResponse,
        CancelTrainingRequest, CancelTrainingResponse, StartNewJobRequest, StartNewJobResponse,
        ReserveNodeRequest, ReserveNodeResponse, ConfirmJobCompleteRequest,
        ConfirmJobCompleteResponse, ExtendReservationRequest, ExtendReservationResponse,
        ReleaseReservationRequest, ReleaseReservationResponse, GetReservationRequest,
        GetReservationResponse, ListReservationsRequest, ListReservationsResponse,
        EngineHeartbeatRequest, EngineHeartbeatResponse, GetActiveReservationsRequest,
        GetActiveReservationsResponse, GetReconnectionTokenRequest, GetReconnectionTokenResponse,
        ReportJobCompleteFromNodeRequest, ReportJobCompleteFromNodeResponse,
        ReportReservationEndFromEngineRequest, ReportReservationEndFromEngineResponse,
        ReportReservationEndFromNodeRequest, ReportReservationEndFromNodeResponse,
        ConnectWalletRequest, ConnectWalletResponse, GetBalanceRequest, GetBalanceResponse,
        GetTransactionHistoryRequest, GetTransactionHistoryResponse, EstimateJobCostRequest,
        EstimateJobCostResponse,
    }
    Documented "titancompute.v1" titancompute {
        InferenceRequest, InferenceResponse, AgentRegistration, RegistrationResponse,
        HealthUpdate, HealthAck, StatusRequest, SystemStatus, PublicKeyRequest,
        PublicKeyResponse, StreamRequest, StreamResponse, AgentStatusRequest,
        AgentStatusResponse,
    }
    Documented "zisk.distributed.api.v1" zisk {
        ProverMessage, CoordinatorMessage, ProversListRequest, ProversListResponse,
        HealthCheckRequest, HealthCheckResponse, SystemStatusRequest, SystemStatusResponse,
        StatusInfoRequest, StatusInfoResponse, JobsListRequest, JobsListResponse,
        JobStatusRequest, JobStatusResponse, LaunchProofRequest, LaunchProofResponse,
    }
    Documented "dim.daemon" dim_daemon {
        SubmitJobRequest, SubmitJobResponse, GetJobStatusRequest, JobStatusResponse,
        CancelJobRequest, CancelJobResponse, GetHealthRequest, HealthResponse, GetStatsRequest,
        StatsResponse,
    }
    Documented "dim.orchestrator" dim_orchestrator {
        SubmitJobRequest, SubmitJobResponse, GetJobStatusRequest, JobStatusResponse,
        CancelJobRequest, CancelJobResponse, GetJobResultRequest, JobResultResponse,
        ListJobsRequest, ListJobsResponse,
    }
    Documented "dim.pattern_engine" dim_engine {
        ExecuteRequest, ExecuteResponse, GetHealthRequest, HealthResponse,
    }
    Documented "nodepool" nodepool {
        LoginRequest, LoginResponse, RegisterRequest, RegisterResponse, TransferRequest,
        TransferResponse, GetBalanceRequest, GetBalanceResponse, RegisterWorkerNodeRequest,
        StatusResponse, HealthCheckRequest, HealthCheckResponse, ReportStatusRequest,
        GetNodeListRequest, GetNodeListResponse, UploadTaskRequest, UploadTaskResponse,
        PollTaskStatusRequest, PollTaskStatusResponse, StoreOutputRequest, StoreResultRequest,
        GetTaskResultRequest, GetTaskResultResponse, TaskCompletedRequest, StoreLogsRequest,
        GetTaskLogsRequest, GetTaskLogsResponse, GetAllTasksRequest, GetAllTasksResponse,
        StopTaskRequest, StopTaskResponse, ReturnTaskResultRequest, ReturnTaskResultResponse,
        ExecuteTaskRequest, ExecuteTaskResponse, ReportOutputRequest, RunningStatusRequest,
        RunningStatusResponse, StopTaskExecutionRequest, StopTaskExecutionResponse,
    }
    Shipped "nodepool" nodepool_shipped {
        LoginRequest, LoginResponse, RegisterRequest, RegisterResponse, TransferRequest,
        TransferResponse, GetBalanceRequest, GetBalanceResponse, RegisterWorkerNodeRequest,
        StatusResponse, HealthCheckRequest, HealthCheckResponse, ReportStatusRequest,
        GetNodeListRequest, GetNodeListResponse, UploadTaskRequest, UploadTaskResponse,
        PollTaskStatusRequest, PollTaskStatusResponse, StoreOutputRequest, StoreResultRequest,
        GetTaskResultRequest, GetTaskResultResponse, TaskCompletedRequest, StoreLogsRequest,
        GetTaskLogsRequest, GetTaskLogsResponse, GetAllTasksRequest, GetAllTasksResponse,
        StopTaskRequest, StopTaskResponse, ReturnTaskResultRequest, ReturnTaskResultResponse,
        ExecuteTaskRequest, ExecuteTaskResponse, ReportOutputRequest, RunningStatusRequest,
        RunningStatusResponse, StopTaskExecutionRequest, StopTaskExecutionResponse,
    }
    Documented "taskworker" taskworker {
        PushRequest, PushResponse, GetRequest, GetResponse, ReviseRequest, ReviseResponse,
        SynchronousRequest, SynchronousResponse, FunctionCallRequest, FunctionCallResponse,
        ExecuteTaskRequest, ExecuteTaskResponse, GetTaskStatusRequest,
        GetTaskStatusResponse, CancelTaskRequest, CancelTaskResponse, GetSystemInfoRequest,
        GetSystemInfoResponse,
    }
}
