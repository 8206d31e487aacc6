// Calls that succeed: what the official client gets through the gateway is what the provider said.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gateway, all, costOf, errors, nano, textOf } from './harness.mjs';

const TOOL = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

describe('calls', () => {
  let gateway;
  let client;
  before(async () => {
    gateway = await Gateway.start();
    client = gateway.client();
  });
  after(() => gateway.stop());

  test('a plain chat', async () => {
    const answer = await gateway.say(client, 'words-3');
    assert.equal(answer.choices[0].message.content, 'one two three');
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.usage.completion_tokens, 3);
    assert.match(answer._request_id, /^req_/);
  });

  test('headers name the call and its cost', async () => {
    const first = await gateway.say(client, 'usage-1000-200').withResponse();
    const second = await gateway.say(client, 'usage-1000-200').withResponse();
    assert.equal(costOf(first.response), nano('0.0045'));
    assert.match(first.request_id, /^req_/);
    assert.notEqual(first.request_id, second.request_id);
  });

  test('unknown fields travel on', async () => {
    const future = { deep: [1, 2.5, 'ü'] };
    await gateway.say(client, 'words-2', { x_future: future });
    assert.deepEqual((await gateway.lastBody('words-2')).x_future, future);
  });

  test('a stream without include_usage tells no usage', async () => {
    const chunks = await all(await gateway.say(client, 'words-6', { stream: true }));
    assert.equal(textOf(chunks), 'one two three four five six');
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert(chunks.every((chunk) => chunk.usage == null && chunk.choices.length > 0));
    assert.equal((await gateway.lastBody('words-6')).stream_options.include_usage, true);
  });

  test('a stream with include_usage ends with it', async () => {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await all(await gateway.say(client, 'words-6', options));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.equal(chunks.at(-1).usage.completion_tokens, 6);
    assert(chunks.slice(0, -1).every((chunk) => chunk.usage == null));
  });

  test('other stream options are kept', async () => {
    const options = { stream: true, stream_options: { include_obfuscation: false } };
    await all(await gateway.say(client, 'words-5', options));
    const sent = (await gateway.lastBody('words-5')).stream_options;
    assert.deepEqual(sent, { include_obfuscation: false, include_usage: true });
  });

  test('events in small pieces', async () => {
    for (const size of [1, 7, 64]) {
      const chunks = await all(await gateway.say(client, `drip-${size}`, { stream: true }));
      assert.equal(textOf(chunks).split(' ').length, 12);
    }
  });

  test('the stream helper', async () => {
    const messages = [{ role: 'user', content: 'hello there' }];
    const stream = client.chat.completions.stream({ model: 'words-4', messages });
    assert.equal(await stream.finalContent(), 'one two three four');
  });

  test('a tool is called and answered', async () => {
    const asked = await gateway.say(client, 'words-2', { tools: [TOOL] });
    const { message, finish_reason: reason } = asked.choices[0];
    assert.equal(reason, 'tool_calls');
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'scripted city' });
    const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'rain' };
    const messages = [{ role: 'user', content: 'weather?' }, message, result];
    const told = await gateway.say(client, 'words-2', { messages, tools: [TOOL] });
    assert.equal(told.choices[0].message.content, 'one two');
  });

  test('a tool call in a stream', async () => {
    const chunks = await all(await gateway.say(client, 'words-2', { tools: [TOOL], stream: true }));
    const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
    assert.equal(calls[0].function.name, 'weather');
    const text = calls.map((call) => call.function.arguments).join('');
    assert.deepEqual(JSON.parse(text), { city: 'scripted city' });
  });

  test('embeddings in the default encoding', async () => {
    const input = ['a b', 'c'];
    const packed = await client.embeddings.create({ model: 'embed', input });
    assert.equal((await gateway.lastBody('embed')).encoding_format, 'base64');
    const plain = await client.embeddings.create({ model: 'embed', input, encoding_format: 'float' });
    assert.deepEqual(packed.data.map((row) => row.embedding), plain.data.map((row) => row.embedding));
  });

  test('moderations', async () => {
    const answer = await client.moderations.create({ model: 'guard', input: ['kind', 'violence'] });
    assert.deepEqual(answer.results.map((row) => row.flagged), [false, true]);
  });

  test('completions', async () => {
    const answer = await client.completions.create({ model: 'words-4', prompt: 'a b c' });
    assert.equal(answer.choices[0].text, 'one two three four');
  });

  test('many at once, each with its own answer', async () => {
    const lengths = Array.from({ length: 60 }, (_, index) => 1 + (index % 20));
    const ask = async (length, index) => {
      const streamed = index % 2 === 0;
      const answer = await gateway.say(client, `words-${length}`, { stream: streamed });
      return streamed ? textOf(await all(answer)) : answer.choices[0].message.content;
    };
    const said = await Promise.all(lengths.map(ask));
    assert.deepEqual(said.map((text) => text.split(' ').length), lengths);
  });
});

describe('models', () => {
  const models = ['words-2', 'words-3'];
  let gateway;
  before(async () => {
    gateway = await Gateway.start({ models });
  });
  after(() => gateway.stop());

  test('are listed by their names', async () => {
    const listed = await all(gateway.client().models.list());
    assert.deepEqual(listed.map((model) => model.id).sort(), models);
  });

  test('are found one by one', async () => {
    assert.equal((await gateway.client().models.retrieve('words-2')).id, 'words-2');
  });

  test('unknown ones are not found', async () => {
    const client = gateway.client();
    for (const ask of [() => gateway.say(client, 'nobody'), () => client.models.retrieve('nobody')]) {
      await assert.rejects(ask, (error) => {
        assert(error instanceof errors.NotFoundError);
        return error.code === 'model_not_found';
      });
    }
    assert.deepEqual(await gateway.received('nobody'), []);
  });
});
