"""Calls that fail: the official client raises the right exception, once, with the right body.

The bodies of 401 and 403 are a promise to users and are compared whole. What a provider says about
a bad call reaches the caller as the provider said it.
"""

import asyncio
import time
from decimal import Decimal

import openai

from harness import GatewayCase, dollars, user

INVALID_KEY = {
    "message": "Invalid API key provided.",
    "type": "authentication_error",
    "code": "invalid_api_key",
}
LIMIT_EXCEEDED = {
    "message": "API key has exceeded its spending limit.",
    "type": "authorization_error",
    "code": "spending_limit_exceeded",
}


class Refusals(GatewayCase):
    def refused(self, expected, call):
        """Makes a call that must raise exactly this exception, and returns it."""
        with self.assertRaises(expected) as caught:
            call()
        self.assertIs(type(caught.exception), expected)
        return caught.exception

    def assert_contract(self, error, contract):
        """The body is the contract's; only a null `param` may stand beside it."""
        body = error.response.json()
        self.assertEqual(list(body), ["error"])
        self.assertIsNone(body["error"].pop("param", None))
        self.assertEqual(body["error"], contract)


class Keys(Refusals):
    def test_a_wrong_key(self):
        changed = self.secret[:-1] + ("a" if self.secret[-1] != "a" else "b")
        for wrong in ("sk-wrong", changed, f"{self.secret}x"):
            client = self.client(secret=wrong)
            error = self.refused(openai.AuthenticationError, lambda: self.say(client, "wrong-key"))
            self.assert_contract(error, INVALID_KEY)
            self.assertEqual(error.response.headers["www-authenticate"], "Bearer")
        self.assertEqual(self.upstream.received("wrong-key"), [])

    def test_a_wrong_key_is_refused_everywhere(self):
        client = self.client(secret="sk-wrong")
        calls = [
            lambda: client.models.list(),
            lambda: client.models.retrieve("words-1"),
            lambda: client.embeddings.create(model="m", input="a"),
            lambda: client.moderations.create(model="m", input="a"),
            lambda: client.completions.create(model="m", prompt="a"),
            lambda: self.say(client, "m", stream=True),
        ]
        for call in calls:
            self.assert_contract(self.refused(openai.AuthenticationError, call), INVALID_KEY)

    def test_the_secret_alone_is_printed(self):
        printed = self.gateway.command("admin", "keys", "create", "piped")
        secret = printed.removesuffix("\n")
        self.assertRegex(secret, r"\Ask-[!-~]+\Z")
        self.say(self.client(secret=secret), "words-1")


class Limits(Refusals):
    def counting_client(self, secret):
        """A client with its usual retries, and a list that grows with every attempt."""
        attempts = []
        hooks = {"request": [attempts.append]}
        web = openai.DefaultHttpxClient(event_hooks=hooks)
        return self.client(secret=secret, max_retries=2, http_client=web), attempts

    def test_a_spent_key_is_refused_once_and_for_all(self):
        client, attempts = self.counting_client(self.gateway.key("nothing", daily="0.000001"))
        for stream in (False, True):
            attempts.clear()
            error = self.refused(
                openai.PermissionDeniedError,
                lambda: self.say(client, "too-dear", stream=stream, max_tokens=50),
            )
            self.assert_contract(error, LIMIT_EXCEEDED)
            self.assertEqual(error.response.headers["x-should-retry"], "false")
            self.assertNotIn("retry-after", error.response.headers)
            self.assertEqual(len(attempts), 1)
        self.assertEqual(self.upstream.received("too-dear"), [])

    def test_every_limit_counts(self):
        for period in ("daily", "weekly", "monthly"):
            client = self.client(secret=self.gateway.key(f"by-{period}", **{period: "0.000001"}))
            self.refused(
                openai.PermissionDeniedError, lambda: self.say(client, "too-dear", max_tokens=50)
            )

    def test_calls_succeed_until_the_limit_and_never_pass_it(self):
        limit = Decimal("0.002")
        client, _ = self.counting_client(self.gateway.key("little", daily=str(limit)))
        spent, answered = Decimal(0), 0
        with self.assertRaises(openai.PermissionDeniedError) as caught:
            while answered < 100:
                spent += dollars(self.short_call(client))
                answered += 1
        self.assert_contract(caught.exception, LIMIT_EXCEEDED)
        self.assertLessEqual(spent, limit)
        # A call costs 0.00009: fewer than ten would mean refusing money that is not spent.
        self.assertGreaterEqual(answered, 10)

    def test_a_limit_holds_against_many_calls_at_once(self):
        limit = Decimal("0.003")
        secret = self.gateway.key("crowd", daily=str(limit))
        answers = asyncio.run(self.crowd(secret, 60))
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        spent = sum(dollars(answer) for answer in answers if not isinstance(answer, Exception))
        self.assertTrue(
            all(type(error) is openai.PermissionDeniedError for error in refused), refused
        )
        self.assertGreater(len(refused), 0)
        self.assertGreater(spent, limit / 2)
        self.assertLessEqual(spent, limit)

    async def crowd(self, secret, count):
        async with self.gateway.client(secret, openai.AsyncOpenAI, timeout=60) as client:
            calls = [self.short_call(client) for _ in range(count)]
            return await asyncio.gather(*calls, return_exceptions=True)

    def short_call(self, client):
        return client.chat.completions.with_raw_response.create(
            model="words-8", messages=[user("hi")], max_tokens=16
        )


class Upstreams(Refusals):
    def test_errors_of_the_provider_pass_unchanged(self):
        expected = {
            400: openai.BadRequestError,
            404: openai.NotFoundError,
            422: openai.UnprocessableEntityError,
            429: openai.RateLimitError,
        }
        for status, kind in expected.items():
            for stream in (False, True):
                error = self.refused(
                    kind, lambda: self.say(self.client(), f"fail-{status}", stream=stream)
                )
                self.assertEqual(error.message.split(" - ")[0], f"Error code: {status}")
                self.assertEqual(error.body["message"], f"Scripted failure {status}.")
                self.assertEqual(error.code, f"scripted_{status}")

    def test_a_rate_limit_says_when_to_return(self):
        error = self.refused(openai.RateLimitError, lambda: self.say(self.client(), "fail-429"))
        self.assertEqual(error.response.headers["retry-after"], "7")

    def test_a_failing_provider_is_a_server_error(self):
        for model in ("fail-500", "fail-503", "reset"):
            error = self.refused(openai.InternalServerError, lambda: self.say(self.client(), model))
            self.assertGreaterEqual(error.status_code, 500, model)

    def test_a_stream_that_is_cut_does_not_end_as_if_whole(self):
        said = []
        # Which error it is depends on the client's transport; that it is one does not.
        with self.assertRaises(Exception):
            for chunk in self.say(self.client(), "cut-mid-stream", stream=True):
                said.append(chunk)
        self.assertGreater(len(said), 1)

    def test_an_error_in_a_stream_is_raised(self):
        with self.assertRaises(openai.APIError) as caught:
            list(self.say(self.client(), "error-in-stream", stream=True))
        self.assertIn("Scripted end.", caught.exception.message)

    def test_garbage_harms_nobody_else(self):
        client = self.client()
        for stream in (False, True):
            with self.assertRaises((openai.OpenAIError, ValueError)):
                list(self.say(client, "garbage", stream=stream))
        self.assertEqual(self.say(client, "words-1").choices[0].message.content, "one")

    def test_a_client_may_give_up(self):
        began = time.monotonic()
        self.refused(
            openai.APITimeoutError, lambda: self.say(self.client(timeout=0.3), "slow-3000")
        )
        self.assertLess(time.monotonic() - began, 2)

    def test_patience_is_rewarded(self):
        self.assertEqual(self.say(self.client(), "slow-400").choices[0].finish_reason, "stop")


class Requests(Refusals):
    def test_an_unknown_path(self):
        self.refused(
            openai.NotFoundError, lambda: self.client().get("/no/such/path", cast_to=object)
        )
        self.assertFalse(any("such" in request["path"] for request in self.upstream.received()))

    def test_a_body_that_is_no_json(self):
        error = self.refused(
            openai.BadRequestError,
            lambda: self.client().post("/chat/completions", content=b"{nonsense", cast_to=object),
        )
        self.assertEqual(error.response.json()["error"]["type"], "invalid_request_error")

    def test_a_body_without_a_model(self):
        self.refused(
            openai.BadRequestError,
            lambda: self.client().post("/chat/completions", body={"messages": []}, cast_to=object),
        )
