// The official client whose model is at a provider that speaks another dialect: it cannot tell.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gateway } from './harness.mjs';

const PARAMETERS = { type: 'object', properties: { city: { type: 'string' } } };

describe('a model that thinks again between its text and a call', () => {
  let gateway;
  let client;
  let call;
  before(async () => {
    gateway = await Gateway.start({ claude: true });
    client = gateway.client();
    call = {
      model: 'claude/interleaved',
      tools: [{ type: 'function', function: { name: 'weather', parameters: PARAMETERS } }],
    };
  });
  after(() => gateway.stop());

  /** Answers the model's call, and returns what its provider is given back of its turn. */
  async function returned({ parsed, ...message }) {
    const asked = { role: 'user', content: 'hello' };
    const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'Rain' };
    await client.chat.completions.create({ ...call, messages: [asked, message, result] });
    const { messages } = await gateway.lastBody('interleaved');
    return messages[1].content.map((block) => block.signature ?? block.data ?? block.type);
  }

  const turn = ['Zmlyc3Q=', 'text', 'c2Vjb25k', 'dGhpcmQ=', 'tool_use'];
  const messages = [{ role: 'user', content: 'hello' }];

  test('gets its whole turn back', async () => {
    const answer = await client.chat.completions.create({ ...call, messages });
    assert.deepEqual(await returned(answer.choices[0].message), turn);
  });

  test('gets its streamed turn back', async () => {
    const stream = client.chat.completions.stream({ ...call, messages });
    assert.deepEqual(await returned(await stream.finalMessage()), turn);
  });
});
