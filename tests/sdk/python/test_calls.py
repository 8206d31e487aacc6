"""Calls that succeed: what the official client gets through the gateway is what the provider said.

Each test uses the client as its documentation does; what the provider received is asked of the
scripted upstream, not assumed.
"""

import asyncio
import json
import time

import openai

from harness import GatewayCase, dollars, user

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Chat(GatewayCase):
    def test_plain(self):
        answer = self.say(self.client(), "words-3")
        self.assertEqual(answer.choices[0].message.content, "one two three")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens), (5, 3))

    def test_several_choices(self):
        answer = self.say(self.client(), "words-3", n=2)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        self.assertEqual(answer.usage.completion_tokens, 6)

    def test_headers_name_the_call_and_its_cost(self):
        raw = self.client().chat.completions.with_raw_response
        first = self.say_raw(raw, "usage-1000-200")
        second = self.say_raw(raw, "usage-1000-200")
        self.assertEqual(str(dollars(first).normalize()), "0.0045")
        self.assertTrue(first.headers["x-request-id"].startswith("req_"), first.headers)
        self.assertNotEqual(first.headers["x-request-id"], second.headers["x-request-id"])
        self.assertEqual(first.parse().choices[0].finish_reason, "stop")

    def say_raw(self, raw, model):
        return raw.create(model=model, messages=[user("hello there")])

    def test_the_client_shows_our_request_id(self):
        self.assertTrue(self.say(self.client(), "words-1")._request_id.startswith("req_"))

    def test_unknown_fields_travel_on(self):
        future = {"x_future": {"deep": [1, 2.5, "ü"]}, "seed": 12345678901234567}
        self.say(self.client(), "words-2", extra_body=future)
        body = self.upstream.last_body("words-2")
        self.assertEqual({name: body[name] for name in future}, future)

    def test_parts_and_long_prompts(self):
        parts = [{"type": "text", "text": "word " * 20_000}, {"type": "text", "text": "end"}]
        answer = self.client().chat.completions.create(
            model="words-1", messages=[{"role": "user", "content": parts}]
        )
        self.assertEqual(answer.usage.prompt_tokens, 20_004)

    def test_completions(self):
        client = self.client()
        answer = client.completions.create(model="words-4", prompt="a b c")
        self.assertEqual(answer.choices[0].text, "one two three four")
        stream = client.completions.create(model="words-4", prompt="a b c", stream=True)
        texts = [chunk.choices[0].text for chunk in stream]
        self.assertEqual("".join(texts), "one two three four ")


class Streams(GatewayCase):
    def test_without_include_usage_no_chunk_tells_usage(self):
        chunks = list(self.say(self.client(), "words-6", stream=True))
        self.assertEqual(text_of(chunks), "one two three four five six")
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertTrue(all(chunk.usage is None for chunk in chunks))
        self.assertTrue(all(chunk.choices for chunk in chunks))

    def test_the_provider_is_asked_for_usage_all_the_same(self):
        list(self.say(self.client(), "words-7", stream=True))
        self.assertIs(self.upstream.last_body("words-7")["stream_options"]["include_usage"], True)

    def test_include_usage_ends_with_the_usage_chunk(self):
        options = {"include_usage": True}
        chunks = list(self.say(self.client(), "words-6", stream=True, stream_options=options))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 6)
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_other_stream_options_are_kept(self):
        options = {"include_obfuscation": False}
        list(self.say(self.client(), "words-5", stream=True, stream_options=options))
        sent = self.upstream.last_body("words-5")["stream_options"]
        self.assertEqual(sent, {"include_obfuscation": False, "include_usage": True})

    def test_options_are_not_added_to_a_call_that_is_no_stream(self):
        self.say(self.client(), "words-9")
        self.assertNotIn("stream_options", self.upstream.last_body("words-9"))

    def test_events_in_small_pieces(self):
        whole = text_of(self.say(self.client(), "words-12", stream=True))
        for size in (1, 7, 64):
            chunks = list(self.say(self.client(), f"drip-{size}", stream=True))
            self.assertEqual(text_of(chunks), whole, size)
            self.assertTrue(all(chunk.usage is None for chunk in chunks), size)

    def test_words_arrive_as_they_are_said(self):
        """The first is here long before the last, four seconds later: nothing collects them."""
        began = time.monotonic()
        with self.say(self.client(), "pace-300", stream=True) as stream:
            next(stream)
        self.assertLess(time.monotonic() - began, 2)

    def test_the_stream_helper(self):
        with self.client().chat.completions.stream(
            model="words-4", messages=[user("hello there")]
        ) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.content, "one two three four")


class Tools(GatewayCase):
    def test_a_tool_is_called_and_answered(self):
        client = self.client()
        messages = [user("weather?")]
        asked = client.chat.completions.create(model="words-2", messages=messages, tools=[TOOL])
        call = asked.choices[0].message.tool_calls[0]
        self.assertEqual(asked.choices[0].finish_reason, "tool_calls")
        self.assertEqual(call.function.name, "weather")
        self.assertEqual(json.loads(call.function.arguments), {"city": "scripted city"})
        messages += [
            asked.choices[0].message,
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ]
        told = client.chat.completions.create(model="words-2", messages=messages, tools=[TOOL])
        self.assertEqual(told.choices[0].message.content, "one two")

    def test_a_tool_call_in_a_stream(self):
        chunks = list(self.say(self.client(), "words-2", stream=True, tools=[TOOL]))
        deltas = [chunk.choices[0].delta for chunk in chunks]
        calls = [call for delta in deltas for call in delta.tool_calls or []]
        self.assertEqual((calls[0].id, calls[0].function.name), ("call_scripted", "weather"))
        arguments = "".join(call.function.arguments for call in calls)
        self.assertEqual(json.loads(arguments), {"city": "scripted city"})
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")


class OtherEndpoints(GatewayCase):
    def test_embeddings_in_the_default_encoding(self):
        client = self.client()
        packed = client.embeddings.create(model="embed", input=["a b", "c"])
        self.assertEqual(self.upstream.last_body("embed")["encoding_format"], "base64")
        plain = client.embeddings.create(model="embed", input=["a b", "c"], encoding_format="float")
        self.assertEqual(
            [row.embedding for row in packed.data], [row.embedding for row in plain.data]
        )
        self.assertEqual(len(packed.data[0].embedding), 8)
        self.assertEqual(packed.usage.prompt_tokens, 3)

    def test_embeddings_cost_their_prompt(self):
        raw = self.client().embeddings.with_raw_response.create(model="embed", input="a b c d")
        self.assertEqual(dollars(raw), self.price.cost(4, 0))

    def test_moderations(self):
        answer = self.client().moderations.create(model="guard", input=["kind", "violence"])
        self.assertEqual([row.flagged for row in answer.results], [False, True])


class Models(GatewayCase):
    """Models are listed by the names in the configuration."""

    models = ("words-2", "words-3")

    def test_list(self):
        self.assertEqual({model.id for model in self.client().models.list()}, set(self.models))

    def test_retrieve(self):
        model = self.client().models.retrieve("words-2")
        self.assertEqual((model.id, model.object), ("words-2", "model"))

    def test_an_unknown_model(self):
        for ask in (
            lambda: self.say(self.client(), "nobody"),
            lambda: self.client().models.retrieve("nobody"),
        ):
            with self.assertRaises(openai.NotFoundError) as caught:
                ask()
            self.assertEqual(caught.exception.code, "model_not_found")
        self.assertEqual(self.upstream.received("nobody"), [])


class Async(GatewayCase):
    def test_many_at_once(self):
        """Plain and streamed calls side by side, each with its own answer."""
        asyncio.run(self.many(60))

    async def many(self, count):
        async with self.gateway.client(self.secret, openai.AsyncOpenAI) as client:
            lengths = [1 + index % 20 for index in range(count)]
            asks = [
                self.ask(client, length, index % 2 == 0) for index, length in enumerate(lengths)
            ]
            said = await asyncio.gather(*asks)
        self.assertEqual([len(text.split()) for text in said], lengths)

    async def ask(self, client, length, streamed):
        answer = await self.say(client, f"words-{length}", stream=streamed)
        if not streamed:
            return answer.choices[0].message.content
        return text_of([chunk async for chunk in answer])


def text_of(chunks) -> str:
    """What a stream said."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
