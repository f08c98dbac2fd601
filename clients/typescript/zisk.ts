// A client of ZisK distributed: what an operator asks, and a prover that dials in and
// goes again.

import * as grpc from '@grpc/grpc-js';
import { call, connect, given, load, run } from './client';

const { zisk } = load('zisk', 'zisk_distributed_api.proto');

run(async () => {
  const asked = given();
  const client = connect(zisk.distributed.api.v1.ZiskDistributedApi, asked.address);
  const proverId = asked.of('prover', 'test-worker-001');
  await call(client, 'healthCheck', {});
  const info = await call(client, 'statusInfo', {});
  const unknown = await call(client, 'jobStatus', { jobId: 'job_123' });

  const stream: grpc.ClientDuplexStream<any, any> = client.proverStream();
  const registered = new Promise<any>((resolve, reject) => {
    stream.on('data', (message) => {
      if (message.payload === 'registerResponse') resolve(message.registerResponse);
      if (message.payload === 'heartbeat') stream.write({ heartbeatAck: { proverId } });
    });
    stream.on('error', reject);
  });
  const ended = new Promise((resolve) => stream.on('end', resolve));
  stream.write({ register: { proverId, computeCapacity: { computeUnits: 8 } } });
  stream.write({ heartbeatAck: { proverId } });
  const answer = await registered;
  const before = await call(client, 'proversList', { availableOnly: true });
  stream.end();
  await ended;
  const after = await call(client, 'proversList', { availableOnly: true });
  const proof = { blockId: 'block_456', computeCapacity: 4, inputPath: '/path/to/input' };
  const nobody = await call(client, 'launchProof', proof);
  return {
    service: info.serviceName,
    unknown: unknown.error?.code,
    accepted: answer.accepted,
    before: before.proversList.provers.map((prover: any) => prover.proverId),
    after: after.proversList.provers.map((prover: any) => prover.proverId),
    nobody: nobody.error?.code,
  };
});
