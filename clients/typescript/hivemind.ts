// A client of HiveMind: registers a user and logs in, uploads a task, waits for its end,
// and fetches its result and its logs.

import { readFileSync } from 'node:fs';
import { bearer, call, connect, given, load, run, until } from './client';

const { nodepool } = load('hivemind', 'nodepool.proto');
const OVER = ['COMPLETED', 'FAILED', 'STOPPED'];

run(async () => {
  const asked = given();
  const users = connect(nodepool.UserService, asked.address);
  const master = connect(nodepool.MasterNodeService, asked.address);
  const words = { username: asked.of('user', 'testuser'), password: asked.of('password', 'password123') };
  const succeeded = (what: string, answer: any) => {
    if (!answer.success) throw new Error(`${what}: ${answer.message}`);
    return answer;
  };
  succeeded('register', await call(users, 'register', words));
  const { token } = succeeded('login', await call(users, 'login', words));
  const metadata = bearer(token);
  const balance = await call(users, 'getBalance', { username: words.username, token });
  succeeded('balance', balance);
  const taskId = asked.of('task', 'task-001');
  const taskData = readFileSync(asked.of('zip'));
  const upload = { taskId, taskData, userId: words.username };
  succeeded('upload', await call(master, 'uploadTask', upload, metadata));
  const status = await until(
    taskId,
    () => call(master, 'pollTaskStatus', { taskId }, metadata),
    (answer) => OVER.includes(answer.status),
  );
  const result = succeeded('result', await call(master, 'getTaskResult', { taskId }, metadata));
  const logs = await call(master, 'getTaskLogs', { taskId }, metadata);
  const tasks = await call(master, 'getAllTasks', {}, metadata);
  return {
    balance: balance.balance,
    status: status.status,
    message: status.message,
    output: status.output,
    magic: result.resultData.subarray(0, 2).toString(),
    logs: logs.logs,
    tasks: Object.fromEntries(tasks.tasks.map((task: any) => [task.taskId, task.status])),
  };
});
