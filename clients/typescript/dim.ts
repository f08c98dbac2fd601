// A client of DIM: submits a collaborative job over some nodes, waits for its end, and
// fetches the result.

import { call, connect, given, load, run, until } from './client';

const { dim } = load('dim', 'orchestrator.proto');
const OVER = ['JOB_STATE_COMPLETED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED'];

run(async () => {
  const asked = given();
  const client = connect(dim.orchestrator.Orchestrator, asked.address);
  const userId = asked.of('user', 'user-123');
  const request = {
    userId,
    pattern: 'PATTERN_COLLABORATIVE',
    configJson: JSON.stringify({
      modelId: asked.of('model', 'model-abc'),
      nodes: asked.all('node'),
      inputData: JSON.parse(asked.of('input', 'null')),
    }),
    priority: 'PRIORITY_NORMAL',
  };
  const { jobId, status: submitted } = await call(client, 'submitJob', request);
  const status = await until(
    jobId,
    () => call(client, 'getJobStatus', { jobId }),
    (answer) => OVER.includes(answer.status),
  );
  if (status.status !== 'JOB_STATE_COMPLETED') {
    throw new Error(`the job has failed: ${status.error}`);
  }
  const result = await call(client, 'getJobResult', { jobId });
  const listed = await call(client, 'listJobs', { userId, limit: 10 });
  return {
    job: jobId,
    submitted,
    status: status.status,
    percent: status.progress.percentComplete,
    nodes: status.nodes.map((node: any) => node.nodeId),
    result: JSON.parse(result.resultJson),
    nodes_used: result.metadata.nodesUsed,
    listed: listed.jobs.map((job: any) => job.jobId),
  };
});
