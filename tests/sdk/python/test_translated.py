"""Official clients whose model is at a provider that speaks another dialect: they cannot tell, and the
bill is the provider's own count.
"""

import anthropic
import openai

from harness import GatewayCase, user

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
