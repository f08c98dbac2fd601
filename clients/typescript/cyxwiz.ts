// A client of CyxWiz: submits a training, streams its updates, lists the jobs, and ends
// one that would train for long.

import { readFileSync } from 'node:fs';
import { bearer, call, connect, given, load, run, stream, until } from './client';

const { cyxwiz } = load('cyxwiz', 'job.proto');
const MODEL = { type: 'mlp', input_size: 4, hidden_layers: [16], output_size: 3 };
/// Passes over the data that take many minutes.
const LONG = 1_000_000;

run(async () => {
  const asked = given();
  const client = connect(cyxwiz.protocol.JobService, asked.address);
  const metadata = bearer(asked.of('token'));
  const wallet = asked.of('wallet');
  const hyperparameters = Object.fromEntries(
    asked.all('hyper').map((pair) => pair.split('=', 2)),
  );
  const training = async (epochs: number) => {
    const request = {
      config: {
        jobType: 'JOB_TYPE_TRAINING',
        datasetUri: 'file:///saved-inline',
        modelDefinition: asked.of('model', JSON.stringify(MODEL)),
        hyperparameters,
        epochs,
        batchSize: 16,
        requiredDevice: 'DEVICE_CPU',
        paymentAddress: wallet,
      },
      initialData: readFileSync(asked.of('data')),
    };
    const response = await call(client, 'submitJob', request, metadata);
    if (response.error) throw new Error(`the job is refused: ${response.error.message}`);
    return response;
  };
  const submitted = await training(Number(asked.of('epochs', '20')));
  const { jobId } = submitted;
  const updates = await stream(client, 'streamJobUpdates', { jobId }, metadata);
  const status = await call(client, 'getJobStatus', { jobId }, metadata);

  const long = (await training(LONG)).jobId;
  const running = await until(
    long,
    () => call(client, 'getJobStatus', { jobId: long }, metadata),
    (answer) => answer.status.status === 'STATUS_RUNNING',
  );
  const reason = { jobId: long, reason: 'enough' };
  const cancelled = await call(client, 'cancelJob', reason, metadata);
  const page = { userId: wallet, pageSize: 10 };
  const listed = await call(client, 'listJobs', page, metadata);
  return {
    job: jobId,
    submitted: submitted.status,
    updates: updates.length,
    last: updates.at(-1)?.status.status,
    status: status.status.status,
    progress: status.status.progress,
    metrics: status.status.metrics,
    assigned: running.nodeAssignment?.nodeId,
    long,
    cancelled: cancelled.status,
    listed: Object.fromEntries(listed.jobs.map((job: any) => [job.jobId, job.status])),
  };
});
