// Starts the scripted upstream and the real binary for one test file, and stops them again.
//
// Everything lives in a temporary folder and on free ports. When a file ends, the harness itself
// checks what must hold after any calls: no key of ours reached the provider, and no secret
// reached the log. The Python suite has the same harness in its own words; the two share nothing,
// so that each is a use of its client as a stranger would write it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PROVIDER_KEY = 'provider-secret-for-tests';
const START_MS = 20_000;
const STOP_MS = 20_000;

// The official client, from the folder where `tests/run` installed it, else from beside this file.
const modules = process.env.CONDUIT_NODE_MODULES;
export const HOME = modules ? path.dirname(path.resolve(modules)) : fileURLToPath(new URL('.', import.meta.url));

export const { OpenAI, ...errors } = createRequire(path.join(HOME, 'package.json'))('openai');

/** The binary under test: `CONDUIT_BIN`, else the newest kind of build there is. */
function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target');
  const builds = ['release', 'debug'].map((kind) => path.join(target, kind, 'conduit'));
  const places = process.env.CONDUIT_BIN ? [process.env.CONDUIT_BIN] : builds;
  const found = places.find((place) => existsSync(place));
  assert(found, `no binary at ${places.join(' or ')}: run \`cargo build\` first`);
  return path.resolve(found);
}

/** A price in dollars per million tokens. */
export function price(inputUsd, outputUsd) {
  // Thousandths of a nano-dollar per token, so that sums stay whole numbers.
  const perToken = (usd) => BigInt(Math.round(usd * 1_000_000));
  const [input, output] = [perToken(inputUsd), perToken(outputUsd)];
  /** What a call costs in nano-dollars, rounded up once. */
  const cost = (prompt, completion) =>
    (BigInt(prompt) * input + BigInt(completion) * output + 999n) / 1000n;
  return { inputUsd, outputUsd, cost };
}

/** Nano-dollars of a text in dollars. */
export function nano(dollars) {
  const [whole, fraction = ''] = dollars.split('.');
  return BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** What the gateway says a call cost, in nano-dollars. */
export const costOf = (response) => nano(response.headers.get('x-conduit-cost'));

/** What a stream said. */
export const textOf = (chunks) =>
  chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');

/** All of an asynchronous sequence. */
export async function all(sequence) {
  const items = [];
  for await (const item of sequence) items.push(item);
  return items;
}

/** A running gateway with a scripted upstream behind it. */
export class Gateway {
  /** With `claude`, the models `claude/*` are at a provider that speaks Anthropic's messages. */
  static async start({ models = ['*'], price: each = price(2.5, 10), claude = false } = {}) {
    const gateway = new Gateway();
    gateway.price = each;
    gateway.claude = claude;
    gateway.folder = mkdtempSync(path.join(tmpdir(), 'conduit-sdk-'));
    gateway.secrets = [];
    try {
      await gateway.startUpstream();
      await gateway.startBinary(models);
      gateway.secret = gateway.key('tests');
    } catch (error) {
      await gateway.stopProcesses();
      throw error;
    }
    return gateway;
  }

  async startUpstream() {
    const script = path.join(ROOT, 'tests/upstream/serve.py');
    const stdio = ['ignore', 'pipe', 'inherit'];
    this.upstream = spawn('python3', [script, '--key', PROVIDER_KEY], { stdio });
    const [line] = await once(this.upstream.stdout, 'data');
    this.upstreamUrl = `http://${line.toString().trim().split(' ').at(-1)}`;
  }

  async startBinary(models) {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.config = path.join(this.folder, 'conduit.toml');
    this.environment = { ...cleanEnvironment(), MOCK_KEY: PROVIDER_KEY };
    writeFileSync(this.config, configText(port, this.upstreamUrl, models, this));
    const log = openSync(this.logFile(), 'w');
    const options = { stdio: ['ignore', 'ignore', log], cwd: this.folder, env: this.environment };
    this.process = spawn(binary(), ['serve', '--config', this.config], options);
    closeSync(log);
    await this.untilReady();
  }

  async untilReady() {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline && this.process.exitCode === null) {
      const answer = await fetch(`${this.url}/readyz`).catch(() => null);
      if (answer?.ok) return;
      await sleep(20);
    }
    throw new Error(`conduit did not become ready:\n${this.log()}`);
  }

  logFile() {
    return path.join(this.folder, 'conduit.log');
  }

  log() {
    return readFileSync(this.logFile(), 'utf8');
  }

  /** Runs the command line against this gateway; its standard output. */
  command(...parts) {
    const options = { env: this.environment, encoding: 'utf8', timeout: 30_000, stdio: 'pipe' };
    return execFileSync(binary(), [...parts, '--config', this.config], options);
  }

  /** Makes a key and returns its secret. */
  key(name, limits = {}) {
    const options = Object.entries(limits).flatMap(([period, usd]) => [`--${period}`, usd]);
    const made = JSON.parse(this.command('admin', 'keys', 'create', name, ...options, '--json'));
    this.secrets.push(made.secret);
    return made.secret;
  }

  /** Nano-dollars over all rows of the usage report. Never waited for: the receipt of a call is in
   * the ledger before the client has seen the end of its answer. */
  billed() {
    const report = JSON.parse(this.command('admin', 'usage', '--json'));
    return report.rows.reduce((sum, row) => sum + nano(row.cost_usd), 0n);
  }

  /** The requests the provider received, for one model or all. */
  async received(model) {
    const query = model ? `?model=${model}` : '';
    return (await fetch(`${this.upstreamUrl}/__requests${query}`)).json();
  }

  /** The body of the last request for a model. */
  async lastBody(model) {
    return JSON.parse((await this.received(model)).at(-1).body);
  }

  /** An official client that talks to this gateway; without retries unless asked for. */
  client({ secret = this.secret, ...options } = {}) {
    return new OpenAI({ apiKey: secret, baseURL: `${this.url}/v1`, maxRetries: 0, ...options });
  }

  /** One chat call with a short prompt. */
  say(client, model, options = {}) {
    const messages = [{ role: 'user', content: 'hello there' }];
    return client.chat.completions.create({ model, messages, ...options });
  }

  async stop() {
    const requests = this.upstream.exitCode === null ? await this.received() : [];
    await this.stopProcesses(() => this.checkNothingLeaked(requests));
  }

  async stopProcesses(check = () => {}) {
    try {
      await end(this.process);
      await end(this.upstream);
      check();
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  checkNothingLeaked(requests) {
    for (const request of requests) {
      const headers = new Map(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
      const key = headers.get('x-api-key') ?? headers.get('authorization').replace('Bearer ', '');
      assert.equal(key, PROVIDER_KEY);
      const text = JSON.stringify(request);
      for (const secret of this.secrets) assert(!text.includes(secret), 'a key reached the provider');
    }
    const log = this.log();
    for (const secret of [...this.secrets, PROVIDER_KEY]) {
      assert(!log.includes(secret), 'a secret reached the log');
    }
  }
}

/** Asks a child to stop, and insists when it does not. */
async function end(child) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const insist = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(insist);
  assert.notEqual(child.signalCode, 'SIGKILL', `a process did not stop within ${STOP_MS} ms`);
}

/** The configuration of a gateway with one provider, or two. */
function configText(port, upstream, models, { price: each, claude }) {
  const table = (name, provider = 'mock') => `[models."${name}"]
provider = "${provider}"
price = { input = ${each.inputUsd}, output = ${each.outputUsd} }
`;
  const native = `[providers.claude]
kind = "anthropic"
base_url = "${upstream}/anthropic"
api_key_env = "MOCK_KEY"

${table('claude/*', 'claude')}`;
  return `[server]
listen = "127.0.0.1:${port}"

[store]
path = "conduit.redb"

[admin]
socket = "admin.sock"

[providers.mock]
kind = "openai"
base_url = "${upstream}/v1"
api_key_env = "MOCK_KEY"

${models.map((name) => table(name)).join('\n')}
${claude ? native : ''}`;
}

/** The environment without settings of a gateway that may run here. */
function cleanEnvironment() {
  const foreign = /^(conduit_|openai_|notify_socket|listen_|credentials_directory)|_proxy$/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}

/** A port that nobody listens on now. */
async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
