"""The official clients of Anthropic and Google against the gateway, each with its own way of sending
a key: what they get is what their provider said, and what goes wrong is raised as their own error.
"""

import anthropic
import openai
from google import genai
from google.genai import errors, types

from harness import GatewayCase, user

PROMPT = "hello there"
MESSAGES = [user(PROMPT)]
SPENT = "API key has exceeded its spending limit."


class Dialects(GatewayCase):
    """Two providers that are spoken to natively, below the names `claude/` and `gemini/`."""

    native = {"claude": ("anthropic", "anthropic"), "gemini": ("gemini", "google")}

    def claude(self, secret=None, **options):
        """Anthropic's client, closed when the test ends."""
        options = {"max_retries": 0, "api_key": secret or self.secret, **options}
        client = anthropic.Anthropic(base_url=self.gateway.url, **options)
        self.addCleanup(client.close)
        return client

    def gemini(self, secret=None):
        """Google's client, which ends when nothing refers to it any more."""
        options = types.HttpOptions(base_url=self.gateway.url)
        client = genai.Client(api_key=secret or self.secret, http_options=options)
        self.addCleanup(client.close)
        return client

    def ask(self, client, model, **options):
        """One call to Anthropic's messages."""
        options = {"max_tokens": 50, "messages": MESSAGES, **options}
        return client.messages.create(model=f"claude/{model}", **options)

    def raised(self, expected, call):
        """Makes a call that must raise this error, and returns it."""
        with self.assertRaises(expected) as caught:
            call()
        return caught.exception


class Azure(GatewayCase):
    def azure(self, **options):
        """OpenAI's client for Azure."""
        client = openai.AzureOpenAI(
            azure_endpoint=self.gateway.url, api_version="2024-10-21", max_retries=0, **options
        )
        self.addCleanup(client.close)
        return client

    def test_a_deployment_is_the_model(self):
        for key in ({"api_key": self.secret}, {"azure_ad_token": self.secret}):
            answer = self.say(self.azure(**key), "usage-10-2")
            self.assertEqual(answer.usage.prompt_tokens, 10)
        # As in its own example: what is in the body then is nobody's concern.
        fixed = self.azure(api_key=self.secret, azure_deployment="usage-1000-20")
        answer = self.say(fixed, "<ignored>")
        self.assertEqual(answer.usage.prompt_tokens, 1000)
        self.assertEqual(self.upstream.last_body("usage-1000-20")["model"], "usage-1000-20")

    def test_models_are_listed(self):
        models = self.azure(api_key=self.secret).models.list()
        self.assertIn("words-8", [model.id for model in models])

    def test_a_wrong_key_is_said_so(self):
        with self.assertRaises(openai.AuthenticationError):
            self.say(self.azure(api_key="wrong"), "words-8")


class Anthropic(Dialects):
    def test_plain(self):
        before = self.gateway.billed()
        answer = self.ask(self.claude(), "usage-1000-20")
        self.assertEqual(answer.content[0].text.split()[:2], ["one", "two"])
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (1000, 20))
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertEqual(answer._request_id, "req_upstream")
        self.assertEqual(self.gateway.billed() - before, self.price.cost(1000, 20))

    def test_either_way_of_sending_the_key(self):
        for options in (
            {"default_headers": {"x-api-key": self.secret, "authorization": anthropic.Omit()}},
            {"api_key": None, "auth_token": self.secret},
        ):
            self.assertTrue(self.ask(self.claude(**options), "words-1").content)

    def test_a_stream(self):
        before = self.gateway.billed()
        options = {"max_tokens": 50, "messages": MESSAGES}
        with self.claude().messages.stream(model="claude/usage-7-3", **options) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        self.assertEqual(text, "one two three")
        self.assertEqual(message.usage.output_tokens, 3)
        self.assertEqual(self.gateway.billed() - before, self.price.cost(7, 3))

    def test_a_beta_call_stays_one(self):
        client = self.claude()
        client.beta.messages.create(
            model="claude/words-1", max_tokens=9, messages=MESSAGES, betas=["scripted-1"]
        )
        last = self.upstream.received("words-1")[-1]
        headers = {name.lower(): value for name, value in last["headers"]}
        self.assertEqual(headers["anthropic-beta"], "scripted-1")
        self.assertIn("anthropic-version", headers)

    def test_tokens_are_counted_for_nothing(self):
        before = self.gateway.billed()
        counted = self.claude().messages.count_tokens(model="claude/words-1", messages=MESSAGES)
        self.assertEqual(counted.input_tokens, 5)
        self.assertEqual(self.gateway.billed(), before)

    def test_models(self):
        ids = [model.id for model in self.claude().models.list(limit=1)]
        self.assertIn("claude/words-8", ids)
        self.assertEqual(self.claude().models.retrieve("claude/words-8").type, "model")

    def test_our_refusals_are_its_errors(self):
        wrong = self.raised(
            anthropic.AuthenticationError, lambda: self.ask(self.claude("sk-wrong"), "words-1")
        )
        self.assertEqual(wrong.body["error"]["message"], "Invalid API key provided.")
        self.assertEqual(wrong.request_id, wrong.body["request_id"])
        spent = self.claude(self.gateway.key("spent", daily="0"), max_retries=2)
        refused = self.raised(anthropic.PermissionDeniedError, lambda: self.ask(spent, "words-1"))
        self.assertEqual(refused.body["error"]["message"], SPENT)
        self.assertEqual(
            refused.body["error"]["details"]["error_code"], "spending_limit_exceeded"
        )
        client = self.claude()
        call = lambda: client.messages.create(model="", max_tokens=1, messages=MESSAGES)
        self.raised(anthropic.BadRequestError, call)

    def test_its_own_errors_pass_as_they_are(self):
        for status, kind in ((400, anthropic.BadRequestError), (429, anthropic.RateLimitError)):
            error = self.raised(kind, lambda: self.ask(self.claude(), f"fail-{status}"))
            self.assertEqual(error.body["error"]["message"], f"Scripted failure {status}.")

    def test_a_stream_that_breaks_off_raises(self):
        for model in ("error-in-stream", "cut-mid-stream"):
            stream = self.ask(self.claude(), model, stream=True)
            error = self.raised(anthropic.APIStatusError, lambda: list(stream))
            self.assertEqual(error.body["type"], "error")


class Google(Dialects):
    def test_plain(self):
        before = self.gateway.billed()
        answer = self.gemini().models.generate_content(
            model="gemini/usage-1000-20", contents=PROMPT
        )
        self.assertTrue(answer.text.startswith("one two"))
        self.assertEqual(answer.usage_metadata.prompt_token_count, 1000)
        self.assertEqual(self.gateway.billed() - before, self.price.cost(1000, 20))

    def test_a_stream(self):
        before = self.gateway.billed()
        stream = self.gemini().models.generate_content_stream(
            model="gemini/usage-7-3", contents=PROMPT
        )
        chunks = list(stream)
        self.assertEqual("".join(chunk.text for chunk in chunks), "one two three")
        self.assertEqual(chunks[-1].candidates[0].finish_reason, types.FinishReason.STOP)
        self.assertEqual(self.gateway.billed() - before, self.price.cost(7, 3))

    def test_tokens_are_counted_for_nothing(self):
        before = self.gateway.billed()
        counted = self.gemini().models.count_tokens(model="gemini/words-1", contents=PROMPT)
        self.assertEqual(counted.total_tokens, 2)
        self.assertEqual(self.gateway.billed(), before)

    def test_models(self):
        client = self.gemini()
        names = [model.name for model in client.models.list(config={"page_size": 1})]
        self.assertIn("models/gemini/words-8", names)
        model = client.models.get(model="gemini/words-8")
        self.assertIn("generateContent", model.supported_actions)

    def test_our_refusals_are_its_errors(self):
        def call(client, model="gemini/words-1"):
            return lambda: client.models.generate_content(model=model, contents=PROMPT)

        wrong = self.raised(errors.ClientError, call(self.gemini("sk-wrong")))
        self.assertEqual((wrong.code, wrong.status), (401, "UNAUTHENTICATED"))
        spent = self.raised(errors.ClientError, call(self.gemini(self.gateway.key("gone", daily="0"))))
        self.assertEqual((spent.code, spent.status, spent.message), (403, "PERMISSION_DENIED", SPENT))
        info = spent.details["error"]["details"][0]
        self.assertEqual(info["reason"], "SPENDING_LIMIT_EXCEEDED")

    def test_its_own_errors_pass_as_they_are(self):
        for status, kind in ((400, errors.ClientError), (503, errors.ServerError)):
            call = lambda: self.gemini().models.generate_content(
                model=f"gemini/fail-{status}", contents=PROMPT
            )
            self.assertEqual(self.raised(kind, call).message, f"Scripted failure {status}.")

    def test_a_stream_that_breaks_off_raises(self):
        for model in ("error-in-stream", "cut-mid-stream"):
            stream = self.gemini().models.generate_content_stream(
                model=f"gemini/{model}", contents=PROMPT
            )
            self.raised(errors.ServerError, lambda: list(stream))
