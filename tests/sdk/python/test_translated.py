"""Official clients whose model is at a provider that speaks another dialect: they cannot tell, and the
bill is the provider's own count.
"""

import sys

import anthropic
import openai

from harness import ROOT, GatewayCase, user

sys.path.insert(0, str(ROOT / "tests/upstream"))
from dialects import INTERLEAVED  # noqa: E402

# Each counts 1000 tokens of prompt and 20 of answer.
CHAT, CLAUDE, GEMINI = (prefix + "usage-1000-20" for prefix in ("", "claude/", "gemini/"))


class Translated(GatewayCase):
    native = {"claude": ("anthropic", "anthropic"), "gemini": ("gemini", "google")}

    def setUp(self):
        self.before = self.gateway.billed()

    def check_bill(self):
        """The call must have cost what the provider counted."""
        self.assertEqual(self.gateway.billed() - self.before, self.price.cost(1000, 20))
        self.before = self.gateway.billed()

    def check_text(self, text):
        words = text.split()
        self.assertEqual((words[:3], len(words)), (["one", "two", "three"], 20))


class Chat(Translated):
    def test_plain(self):
        for model in (CLAUDE, GEMINI):
            with self.subTest(model=model):
                answer = self.say(self.client(), model, max_tokens=50)
                self.check_text(answer.choices[0].message.content)
                self.assertEqual(answer.model, model)
                self.assertEqual(answer.choices[0].finish_reason, "stop")
                usage = answer.usage
                self.assertEqual((usage.prompt_tokens, usage.completion_tokens), (1000, 20))
                self.check_bill()

    def test_a_stream(self):
        for model in (CLAUDE, GEMINI):
            with self.subTest(model=model):
                chunks = list(self.say(
                    self.client(), model, stream=True, stream_options={"include_usage": True}
                ))
                self.check_text("".join(
                    choice.delta.content or "" for chunk in chunks for choice in chunk.choices
                ))
                self.assertEqual(chunks[-1].usage.completion_tokens, 20)
                self.check_bill()

    def test_what_the_provider_cannot_do_is_refused_by_name(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.say(self.client(), CLAUDE, n=2)
        self.assertEqual(caught.exception.param, "n")
        self.assertEqual(self.gateway.billed(), self.before)


class Thinking(Translated):
    """A model that thinks again between its text and a call gets all of it back as it gave it."""

    MODEL = "claude/interleaved"
    PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}

    def check_returned(self):
        self.assertEqual(
            self.upstream.last_body("interleaved")["messages"][1]["content"], INTERLEAVED
        )

    def test_a_loop_of_chat(self):
        function = {"name": "weather", "parameters": self.PARAMETERS}
        call = dict(model=self.MODEL, tools=[{"type": "function", "function": function}])
        completions = self.client().chat.completions
        asked = [user("hello")]
        whole = completions.create(messages=asked, **call)
        with completions.stream(messages=asked, **call) as stream:
            streamed = stream.until_done().get_final_completion()
        for answer in (whole, streamed):
            message = answer.choices[0].message.to_dict()
            self.assertEqual(message["content"], INTERLEAVED[1]["text"])
            for call_ in message["tool_calls"]:
                call_["function"].pop("parsed_arguments", None)
            message.pop("parsed", None)
            result = {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain"}
            completions.create(messages=[*asked, message, result], **call)
            self.check_returned()

    def test_a_loop_of_responses(self):
        function = {"type": "function", "name": "weather", "parameters": self.PARAMETERS}
        call = dict(model=self.MODEL, tools=[{**function, "strict": False}])
        responses = self.client().responses
        asked = user("hello")
        whole = responses.create(input=[asked], **call)
        with responses.stream(input=[asked], **call) as stream:
            streamed = stream.until_done().get_final_response()
        for answer in (whole, streamed):
            items = [item.model_dump(exclude_none=True) for item in answer.output]
            for item in items:
                item.pop("parsed_arguments", None)
            result = {"type": "function_call_output", "call_id": "toolu_1", "output": "Rain"}
            responses.create(input=[asked, *items, result], **call)
            self.check_returned()


class Responses(Translated):
    def test_plain(self):
        for model in (CLAUDE, GEMINI):
            with self.subTest(model=model):
                answer = self.client().responses.create(model=model, input="hello there")
                self.check_text(answer.output_text)
                self.assertEqual((answer.status, answer.usage.output_tokens), ("completed", 20))
                self.check_bill()

    def test_a_stream(self):
        for model in (CLAUDE, GEMINI):
            with self.subTest(model=model):
                with self.client().responses.stream(model=model, input="hello") as stream:
                    for _ in stream:
                        pass
                    answer = stream.get_final_response()
                self.check_text(answer.output_text)
                self.assertEqual(answer.usage.input_tokens, 1000)
                self.check_bill()


class Messages(Translated):
    def claude(self):
        client = anthropic.Anthropic(
            base_url=self.gateway.url, api_key=self.secret, max_retries=0
        )
        self.addCleanup(client.close)
        return client

    def test_plain(self):
        for model in (CHAT, GEMINI):
            with self.subTest(model=model):
                answer = self.claude().messages.create(
                    model=model, max_tokens=50, messages=[user("hello there")]
                )
                self.check_text(answer.content[0].text)
                self.assertEqual(answer.stop_reason, "end_turn")
                self.assertEqual(answer.usage.output_tokens, 20)
                self.check_bill()

    def test_a_stream(self):
        for model in (CHAT, GEMINI):
            with self.subTest(model=model):
                with self.claude().messages.stream(
                    model=model, max_tokens=50, system="be brief", messages=[user("hello")]
                ) as stream:
                    text = "".join(stream.text_stream)
                    message = stream.get_final_message()
                self.check_text(text)
                self.assertEqual(message.usage.output_tokens, 20)
                self.check_bill()
