// What the clients share: services from the `.proto` files beside them, calls as promises,
// and one line of JSON at the end.

import * as path from 'node:path';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';

const PROTOS = path.join(__dirname, '..', 'protos');
/// Milliseconds until a call that must answer at once has failed.
const CALL = 30_000;
/// Milliseconds until a job that must end has failed.
const JOB = 50_000;
/// Milliseconds between two looks at a job.
const PAUSE = 100;

export type Message = Record<string, any>;
type Service = grpc.Client & Record<string, any>;

/// The packages of a file, with names in camel case.
export function load(system: string, file: string): Record<string, any> {
  const folder = path.join(PROTOS, system);
  const definition = protoLoader.loadSync(file, {
    includeDirs: [folder],
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  return grpc.loadPackageDefinition(definition) as Record<string, any>;
}

/// A service at an address, without encryption.
export function connect(service: any, address: string): Service {
  return new service(address, grpc.credentials.createInsecure());
}

/// The metadata that a token travels in.
export function bearer(token: string): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

/// Calls a method by the name that a client of this language gives it.
export function call(
  client: Service,
  method: string,
  request: Message,
  metadata = new grpc.Metadata(),
): Promise<Message> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + CALL };
    client[method](request, metadata, options, (error: grpc.ServiceError | null, answer: Message) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

/// Every message of an answer that is a stream.
export async function stream(
  client: Service,
  method: string,
  request: Message,
  metadata = new grpc.Metadata(),
): Promise<Message[]> {
  const messages: Message[] = [];
  const answers = client[method](request, metadata, { deadline: Date.now() + JOB });
  for await (const message of answers) messages.push(message);
  return messages;
}

/// Asks again until it is over. The last answer.
export async function until(
  what: string,
  ask: () => Promise<Message>,
  isOver: (answer: Message) => boolean,
): Promise<Message> {
  const deadline = Date.now() + JOB;
  for (;;) {
    const answer = await ask();
    if (isOver(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`${what} does not end: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

/// The address, and what else was given as `--name value` or `--name=value`; a name may be
/// given often.
export function given(): { address: string; of: (name: string, otherwise?: string) => string; all: (name: string) => string[] } {
  const [address, ...rest] = process.argv.slice(2);
  if (!address) throw new Error('say HOST:PORT');
  const words = rest.flatMap((word) => /^(--\w+)=([^]*)$/.exec(word)?.slice(1) ?? [word]);
  const all = (name: string) =>
    words.filter((_, at) => at % 2 === 1 && words[at - 1] === `--${name}`);
  return { address, all, of: (name, otherwise = '') => all(name).at(-1) ?? otherwise };
}

/// Runs a client. What it saw is one line of JSON; a failure is one line on stderr.
export function run(main: () => Promise<Message>): void {
  main().then(
    (seen) => {
      console.log(JSON.stringify(seen));
      process.exit(0);
    },
    (error) => {
      const code = typeof error.code === 'number' ? `${grpc.status[error.code]}: ` : '';
      console.error(`error: ${code}${error.details ?? error.message}`);
      process.exit(1);
    },
  );
}
