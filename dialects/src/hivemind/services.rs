//! The three services, written once for both forms.
//!
//! Where it is used, `wire` is the generated package, and `write` has a function for each
//! answer whose forms differ.

/// Implements the services over `wire`, and `add`, which mounts them.
macro_rules! services {
    () => {
        /// The services, over one pool.
        struct Services<P>(std::sync::Arc<Pool<P>>);

        /// Puts the services beside others.
        pub(super) fn add<P: PoolPort>(pool: &std::sync::Arc<Pool<P>>, mount: Mount) -> Mount {
            let users = wire::user_service_server::UserServiceServer::new(Services(pool.clone()));
            let nodes = wire::node_manager_service_server::NodeManagerServiceServer::new(Services(
                pool.clone(),
            ));
            let tasks = wire::master_node_service_server::MasterNodeServiceServer::new(Services(
                pool.clone(),
            ));
            let bulk = tasks.clone().max_decoding_message_size(MAX_MESSAGE);
            let enroll = Call::<P, Registration, wire::StatusResponse> {
                pool: pool.clone(),
                function: |pool, request| {
                    Box::pin(async move {
                        let known = pool.enroll(request, write::FORM).await;
                        let (success, message) = answer(known, About::Node);
                        Ok(Response::new(wire::StatusResponse { success, message }))
                    })
                },
            };
            let upload = Call::<P, Upload, wire::UploadTaskResponse> {
                pool: pool.clone(),
                function: |pool, request| {
                    Box::pin(async move {
                        let (success, message) = answer(pool.upload(request).await, About::Task);
                        Ok(Response::new(wire::UploadTaskResponse { success, message }))
                    })
                },
            };
            mount
                .serve(users)
                .serve(Forms {
                    rest: nodes,
                    path: "/nodepool.NodeManagerService/RegisterWorkerNode",
                    call: enroll,
                })
                .serve(Bulk {
                    pool: pool.clone(),
                    paths: &[
                        "/nodepool.MasterNodeService/UploadTask",
                        "/nodepool.MasterNodeService/StoreResult",
                        "/nodepool.MasterNodeService/ReturnTaskResult",
                    ],
                    bulk: Forms {
                        rest: bulk,
                        path: "/nodepool.MasterNodeService/UploadTask",
                        call: upload,
                    },
                    rest: tasks,
                })
        }

        #[tonic::async_trait]
        impl<P: PoolPort> wire::user_service_server::UserService for Services<P> {
            async fn login(
                &self,
                request: Request<wire::LoginRequest>,
            ) -> Result<Response<wire::LoginResponse>, Status> {
                let asked = request.get_ref();
                let token = self
                    .0
                    .log_in(&request, &asked.username, &asked.password)
                    .await;
                let (token, result) = match token {
                    Ok(token) => (token, Ok("send the token with each call".to_owned())),
                    Err(failure) => (String::new(), Err(failure)),
                };
                let (success, message) = answer(result, About::Login);
                Ok(Response::new(wire::LoginResponse {
                    success,
                    message,
                    token,
                }))
            }

            async fn register(
                &self,
                request: Request<wire::RegisterRequest>,
            ) -> Result<Response<wire::RegisterResponse>, Status> {
                let asked = request.get_ref();
                let made = self
                    .0
                    .make_user(&request, &asked.username, &asked.password)
                    .await;
                let (success, message) = answer(made, About::Login);
                Ok(Response::new(wire::RegisterResponse { success, message }))
            }

            async fn transfer(
                &self,
                request: Request<wire::TransferRequest>,
            ) -> Result<Response<wire::TransferResponse>, Status> {
                let asked = request.get_ref();
                let given = self
                    .0
                    .give(
                        &request,
                        &asked.token,
                        &asked.receiver_username,
                        asked.amount,
                    )
                    .await;
                let (success, message) = answer(given, About::User);
                Ok(Response::new(wire::TransferResponse { success, message }))
            }

            async fn get_balance(
                &self,
                request: Request<wire::GetBalanceRequest>,
            ) -> Result<Response<wire::GetBalanceResponse>, Status> {
                let asked = request.get_ref();
                let funds = self.0.funds(&request, &asked.token, &asked.username).await;
                let (balance, result) = match funds {
                    Ok(balance) => (balance, Ok("what can be spent".to_owned())),
                    Err(failure) => (0, Err(failure)),
                };
                let message = write::no_session(&result);
                let (success, usual) = answer(result, About::User);
                let message = message.unwrap_or(usual);
                Ok(Response::new(wire::GetBalanceResponse {
                    success,
                    message,
                    balance,
                }))
            }
        }

        #[tonic::async_trait]
        impl<P: PoolPort> wire::node_manager_service_server::NodeManagerService for Services<P> {
            async fn register_worker_node(
                &self,
                _: Request<wire::RegisterWorkerNodeRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                Err(Status::internal("this call is read before"))
            }

            async fn health_check(
                &self,
                request: Request<wire::HealthCheckRequest>,
            ) -> Result<Response<wire::HealthCheckResponse>, Status> {
                let health = self.0.health(write::asked(request.get_ref())).await;
                Ok(Response::new(write::health(health)))
            }

            async fn report_status(
                &self,
                request: Request<wire::ReportStatusRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                let asked = request.get_ref();
                let state = write::state(asked);
                let noted = self.0.alive(&request, &asked.node_id, state).await;
                let (success, message) = answer(noted, About::Node);
                Ok(Response::new(wire::StatusResponse { success, message }))
            }

            async fn get_node_list(
                &self,
                request: Request<wire::GetNodeListRequest>,
            ) -> Result<Response<wire::GetNodeListResponse>, Status> {
                write::nodes(self.0.nodes(&request).await).map(Response::new)
            }
        }

        #[tonic::async_trait]
        impl<P: PoolPort> wire::master_node_service_server::MasterNodeService for Services<P> {
            async fn upload_task(
                &self,
                _: Request<wire::UploadTaskRequest>,
            ) -> Result<Response<wire::UploadTaskResponse>, Status> {
                Err(Status::internal("this call is read before"))
            }

            async fn poll_task_status(
                &self,
                request: Request<wire::PollTaskStatusRequest>,
            ) -> Result<Response<wire::PollTaskStatusResponse>, Status> {
                let id = &request.get_ref().task_id;
                let polled = self.0.poll(&request, id).await;
                Ok(Response::new(write::poll(id, polled)))
            }

            async fn store_output(
                &self,
                request: Request<wire::StoreOutputRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                let asked = request.get_ref();
                let kept = self
                    .0
                    .wrote(&request, "", &asked.task_id, &asked.output)
                    .await;
                let (success, message) = answer(kept, About::Task);
                Ok(Response::new(wire::StatusResponse { success, message }))
            }

            async fn store_result(
                &self,
                request: Request<wire::StoreResultRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                let asked = request.get_ref();
                let result = asked.result_zip.clone();
                let kept = self.0.made(&request, &asked.task_id, result).await;
                let (success, message) = answer(kept, About::Task);
                Ok(Response::new(wire::StatusResponse { success, message }))
            }

            async fn get_task_result(
                &self,
                request: Request<wire::GetTaskResultRequest>,
            ) -> Result<Response<wire::GetTaskResultResponse>, Status> {
                let asked = request.get_ref();
                let result = self.0.result(&request, &asked.token, &asked.task_id).await;
                let (result, data) = match result {
                    Ok((text, data)) => (Ok(text), data),
                    Err(failure) => (Err(failure), bytes::Bytes::new()),
                };
                let (success, message) = answer(result, About::Task);
                Ok(Response::new(write::result(success, message, data)))
            }

            async fn task_completed(
                &self,
                request: Request<wire::TaskCompletedRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                let asked = request.get_ref();
                let noted = self
                    .0
                    .ended(&request, &asked.node_id, &asked.task_id, asked.success)
                    .await;
                let (success, message) = answer(noted, About::Task);
                Ok(Response::new(wire::StatusResponse { success, message }))
            }

            async fn store_logs(
                &self,
                request: Request<wire::StoreLogsRequest>,
            ) -> Result<Response<wire::StatusResponse>, Status> {
                let asked = request.get_ref();
                let kept = self
                    .0
                    .wrote(&request, &asked.node_id, &asked.task_id, &asked.logs)
                    .await;
                let (success, message) = answer(kept, About::Task);
                Ok(Response::new(wire::StatusResponse { success, message }))
            }

            async fn get_task_logs(
                &self,
                request: Request<wire::GetTaskLogsRequest>,
            ) -> Result<Response<wire::GetTaskLogsResponse>, Status> {
                let asked = request.get_ref();
                let logs = self.0.logs(&request, &asked.token, &asked.task_id).await;
                let (logs, result) = match logs {
                    Ok(logs) => (logs, Ok("all lines so far".to_owned())),
                    Err(failure) => (String::new(), Err(failure)),
                };
                let (success, message) = answer(result, About::Task);
                Ok(Response::new(wire::GetTaskLogsResponse {
                    success,
                    message,
                    logs,
                }))
            }

            async fn get_all_tasks(
                &self,
                request: Request<wire::GetAllTasksRequest>,
            ) -> Result<Response<wire::GetAllTasksResponse>, Status> {
                let token = &request.get_ref().token;
                write::tasks(self.0.list(&request, token).await).map(Response::new)
            }

            async fn stop_task(
                &self,
                request: Request<wire::StopTaskRequest>,
            ) -> Result<Response<wire::StopTaskResponse>, Status> {
                let asked = request.get_ref();
                let stopped = self.0.stop(&request, &asked.token, &asked.task_id).await;
                let (success, message) = answer(stopped, About::Task);
                Ok(Response::new(wire::StopTaskResponse { success, message }))
            }

            async fn return_task_result(
                &self,
                request: Request<wire::ReturnTaskResultRequest>,
            ) -> Result<Response<wire::ReturnTaskResultResponse>, Status> {
                let asked = request.get_ref();
                let result = asked.result_zip.clone();
                let kept = self.0.made(&request, &asked.task_id, result).await;
                let (success, message) = answer(kept, About::Task);
                Ok(Response::new(wire::ReturnTaskResultResponse {
                    success,
                    message,
                }))
            }
        }
    };
}

pub(super) use services;
