// The JavaScript examples of the README, run as they stand.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { Gateway, HOME, ROOT } from './harness.mjs';

const ADDRESS = 'http://127.0.0.1:8080';

let gateway;
before(async () => {
  gateway = await Gateway.start();
});
after(() => gateway.stop());

test('the examples run', async () => {
  const text = readFileSync(`${ROOT}README.md`, 'utf8');
  const examples = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map((found) => found[1]);
  assert(examples.length > 0);
  const env = { ...gateway.environment, CONDUIT_API_KEY: gateway.secret };
  for (const example of examples) {
    assert(example.includes(ADDRESS));
    const program = ['--input-type=module', '--eval', example.replaceAll(ADDRESS, gateway.url)];
    // A program without a file finds its packages in the folder it is run in.
    const options = { env, cwd: HOME, timeout: 60_000 };
    const { stdout } = await promisify(execFile)(process.execPath, program, options);
    // What the scripted upstream answers to a name that is no script.
    assert.match(stdout, /^one two three/);
  }
});
