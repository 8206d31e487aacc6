// Calls that fail: the official client throws the right error, once, with the right body.
//
// The bodies of 401 and 403 are a promise to users and are compared whole.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gateway, all, costOf, errors, nano } from './harness.mjs';

const INVALID_KEY = {
  message: 'Invalid API key provided.',
  type: 'authentication_error',
  code: 'invalid_api_key',
};
const LIMIT_EXCEEDED = {
  message: 'API key has exceeded its spending limit.',
  type: 'authorization_error',
  code: 'spending_limit_exceeded',
};

/** The error of a call that must fail in exactly this way. */
async function refused(kind, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.constructor, kind, String(error));
    return error;
  }
  return assert.fail(`no ${kind.name}`);
}

/** The error object is the contract's; only a null `param` may stand beside it. */
function assertContract(error, contract) {
  const { param = null, ...rest } = error.error;
  assert.equal(param, null);
  assert.deepEqual(rest, contract);
}

describe('refusals', () => {
  let gateway;
  let client;
  before(async () => {
    gateway = await Gateway.start();
    client = gateway.client();
  });
  after(() => gateway.stop());

  /** A client with its usual retries, and a count of its attempts. */
  function countingClient(secret) {
    const count = { attempts: 0 };
    const counted = (...request) => {
      count.attempts += 1;
      return fetch(...request);
    };
    return [gateway.client({ secret, maxRetries: 2, fetch: counted }), count];
  }

  const shortCall = (by) => gateway.say(by, 'words-8', { max_tokens: 16 }).withResponse();

  test('a wrong key', async () => {
    for (const secret of ['sk-wrong', `${gateway.secret}x`]) {
      const wrong = gateway.client({ secret });
      const calls = [
        () => gateway.say(wrong, 'wrong-key'),
        () => gateway.say(wrong, 'wrong-key', { stream: true }),
        () => wrong.embeddings.create({ model: 'wrong-key', input: 'a' }),
        () => wrong.models.list(),
      ];
      for (const call of calls) {
        const error = await refused(errors.AuthenticationError, call);
        assertContract(error, INVALID_KEY);
        assert.equal(error.headers.get('www-authenticate'), 'Bearer');
      }
    }
    assert.deepEqual(await gateway.received('wrong-key'), []);
  });

  test('a spent key is refused once and for all', async () => {
    const [spent, count] = countingClient(gateway.key('nothing', { daily: '0.000001' }));
    for (const stream of [false, true]) {
      count.attempts = 0;
      const options = { max_tokens: 50, stream };
      const call = () => gateway.say(spent, 'too-dear', options);
      const error = await refused(errors.PermissionDeniedError, call);
      assertContract(error, LIMIT_EXCEEDED);
      assert.equal(error.headers.get('x-should-retry'), 'false');
      assert.equal(count.attempts, 1);
    }
    assert.deepEqual(await gateway.received('too-dear'), []);
  });

  test('a limit holds against many calls at once', async () => {
    const limit = '0.003';
    const crowd = gateway.client({ secret: gateway.key('crowd', { daily: limit }), timeout: 60_000 });
    const ends = await Promise.allSettled(Array.from({ length: 60 }, () => shortCall(crowd)));
    const failed = ends.filter((end) => end.status === 'rejected').map((end) => end.reason);
    const spent = ends
      .filter((end) => end.status === 'fulfilled')
      .reduce((sum, end) => sum + costOf(end.value.response), 0n);
    assert(failed.length > 0);
    for (const error of failed) assert.equal(error.constructor, errors.PermissionDeniedError, String(error));
    assert(spent <= nano(limit), `${spent} is above the limit`);
    assert(spent > nano(limit) / 2n, `${spent} is refused too early`);
  });

  test('errors of the provider pass unchanged', async () => {
    const expected = {
      400: errors.BadRequestError,
      404: errors.NotFoundError,
      422: errors.UnprocessableEntityError,
      429: errors.RateLimitError,
    };
    for (const [status, kind] of Object.entries(expected)) {
      const error = await refused(kind, () => gateway.say(client, `fail-${status}`));
      assert.equal(error.error.message, `Scripted failure ${status}.`);
      assert.equal(error.code, `scripted_${status}`);
      assert.equal(error.headers.get('retry-after'), status === '429' ? '7' : null);
    }
  });

  test('a failing provider is a server error', async () => {
    for (const model of ['fail-500', 'fail-503', 'reset']) {
      await refused(errors.InternalServerError, () => gateway.say(client, model));
    }
  });

  test('a stream that is cut does not end as if whole', async () => {
    await assert.rejects(async () => all(await gateway.say(client, 'cut-mid-stream', { stream: true })));
  });

  test('an error in a stream is thrown', async () => {
    const call = async () => all(await gateway.say(client, 'error-in-stream', { stream: true }));
    assert.match((await refused(errors.APIError, call)).message, /Scripted end\./);
  });

  test('a client may give up', async () => {
    const hasty = gateway.client({ timeout: 300 });
    await refused(errors.APIConnectionTimeoutError, () => gateway.say(hasty, 'slow-3000'));
  });

  test('an unknown path', async () => {
    await refused(errors.NotFoundError, () => client.get('/no/such/path'));
  });

  test('a body without a model', async () => {
    const call = () => client.post('/chat/completions', { body: { messages: [] } });
    await refused(errors.BadRequestError, call);
  });
});
