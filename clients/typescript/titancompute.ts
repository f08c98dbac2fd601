// A client of TitanCompute: asks the coordinator which agent answers, and streams the
// tokens from there.

import { call, connect, given, load, run, stream } from './client';

const { titancompute } = load('titancompute', 'titancompute.proto');

run(async () => {
  const asked = given();
  const words = {
    model: asked.of('model', 'llama3.1:8b-instruct-q4_k_m'),
    prompt: asked.of('prompt', 'Hello'),
    maxTokens: Number(asked.of('tokens', '10')),
  };
  const coordinator = connect(titancompute.v1.CoordinatorService, asked.address);
  const status = await call(coordinator, 'querySystemStatus', { includeAgents: true });
  const key = await call(coordinator, 'getPublicKey', {});
  const request = { clientId: asked.of('client', 'test'), ...words };
  const session = await call(coordinator, 'requestInference', request);
  const agent = connect(titancompute.v1.AgentService, session.agentEndpoint);
  const pieces = await stream(agent, 'streamInference', {
    sessionToken: session.sessionToken,
    ...words,
    stream: true,
    options: { seed: '7' },
  });
  return {
    agents: status.agents.map((agent: any) => agent.agentId),
    algorithm: key.algorithm,
    agent: session.agentId,
    job: session.jobId,
    pieces: pieces.length,
    text: pieces.map((piece) => piece.content).join(''),
    done: pieces.findIndex((piece) => piece.done) === pieces.length - 1,
  };
});
