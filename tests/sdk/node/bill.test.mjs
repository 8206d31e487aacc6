// The bill: what `conduit admin usage` reports is the sum of what the calls cost, to the nano-dollar.
//
// The price is chosen so that single calls cost fractions of a nano-dollar, which must be rounded
// up once per call and nowhere else.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gateway, all, costOf, errors, price } from './harness.mjs';

describe('the bill', () => {
  let gateway;
  before(async () => {
    gateway = await Gateway.start({ price: price(0.0375, 0.1) });
  });
  after(() => gateway.stop());

  test('has a call in it before its end is seen', async () => {
    const client = gateway.client();
    // Over and over, because a bill that comes late is late only sometimes.
    for (let times = 1; times <= 10; times += 1) {
      const before = gateway.billed();
      const stream = times % 2 === 0;
      const answer = await gateway.say(client, 'usage-1001-3', { stream });
      if (stream) await all(answer);
      assert.equal(gateway.billed() - before, gateway.price.cost(1001, 3), `stream: ${stream}`);
    }
  });

  test('is the sum of the calls', async () => {
    const client = gateway.client();
    const { cost } = gateway.price;
    let expected = gateway.billed();

    for (const [prompt, completion] of [[1, 1], [3, 7], [123457, 8191]]) {
      const { response } = await gateway.say(client, `usage-${prompt}-${completion}`).withResponse();
      assert.equal(costOf(response), cost(prompt, completion));
      expected += cost(prompt, completion);
    }
    for (const options of [undefined, { include_usage: true }, { include_usage: false }]) {
      const extra = options ? { stream_options: options } : {};
      await all(await gateway.say(client, 'usage-1001-3', { stream: true, ...extra }));
      expected += cost(1001, 3);
    }
    await client.embeddings.create({ model: 'embed', input: ['a b c', 'd'] });
    expected += cost(4, 0);
    await assert.rejects(() => gateway.say(client, 'fail-400'), errors.BadRequestError);

    const words = Array.from({ length: 50 }, (_, index) => index + 1);
    await Promise.all(words.map((count) => gateway.say(client, `words-${count}`)));
    expected = words.reduce((sum, count) => sum + cost(5, count), expected);

    assert.equal(gateway.billed(), expected);
  });
});
