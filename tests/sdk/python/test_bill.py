"""The bill: what `conduit admin usage` reports is the sum of what the calls cost, to the nano-dollar.

The price is chosen so that single calls cost fractions of a nano-dollar, which must be rounded up
once per call and nowhere else.
"""

import asyncio
from decimal import Decimal

import openai

from harness import GatewayCase, Price, dollars, user


class Bill(GatewayCase):
    price = Price("0.0375", "0.1")

    def test_a_call_is_rounded_up_once(self):
        raw = self.client().chat.completions.with_raw_response.create(
            model="usage-1-1", messages=[user("x")]
        )
        # 37.5 and 100 nano-dollars.
        self.assertEqual(dollars(raw), Decimal("0.000000138"))


class WholeBill(GatewayCase):
    """Tests that add up everything: no other may call meanwhile."""

    price = Price("0.0375", "0.1")

    def test_the_bill_is_the_sum_of_the_calls(self):
        client = self.client()
        expected = self.gateway.billed() + sum(self.plain(client) + self.streamed(client) + self.other(client))
        expected += asyncio.run(self.crowd(50))
        self.free_of_charge(client)
        self.assertEqual(self.gateway.billed(), expected)

    def test_a_call_is_billed_before_its_end_is_seen(self):
        """Over and over, because a bill that comes late is late only sometimes."""
        client = self.gateway.client(self.gateway.key("eager"))
        self.addCleanup(client.close)
        before, cost = self.gateway.billed(), self.price.cost(1001, 3)
        for times in range(1, 11):
            stream = times % 2 == 0
            answer = self.say(client, "usage-1001-3", stream=stream)
            if stream:
                list(answer)
            self.assertEqual(self.gateway.billed(), before + times * cost, f"stream: {stream}")

    def plain(self, client):
        costs = []
        for prompt, completion in [(1, 1), (3, 7), (1000, 200), (123457, 8191)]:
            raw = client.chat.completions.with_raw_response.create(
                model=f"usage-{prompt}-{completion}", messages=[user("x")]
            )
            costs.append(self.price.cost(prompt, completion))
            self.assertEqual(dollars(raw), costs[-1])
        return costs

    def streamed(self, client):
        costs = []
        for options in (None, {"include_usage": True}, {"include_usage": False}):
            extra = {"stream_options": options} if options else {}
            list(self.say(client, "usage-1001-3", stream=True, **extra))
            costs.append(self.price.cost(1001, 3))
        list(client.completions.create(model="usage-77-5", prompt="x", stream=True))
        return [*costs, self.price.cost(77, 5)]

    def other(self, client):
        client.embeddings.create(model="embed", input=["a b c", "d"])
        client.completions.create(model="words-5", prompt="a b")
        return [self.price.cost(4, 0), self.price.cost(2, 5)]

    def free_of_charge(self, client):
        """Calls that a provider refuses cost nothing."""
        for model in ("fail-400", "fail-429", "fail-500"):
            with self.assertRaises(openai.APIStatusError):
                self.say(client, model)

    async def crowd(self, count):
        async with self.gateway.client(self.secret, openai.AsyncOpenAI) as client:
            answers = await asyncio.gather(
                *(self.say(client, f"words-{n}") for n in range(1, count + 1))
            )
        return sum(self.price.of(answer.usage) for answer in answers)


class CutStreams(GatewayCase):
    """A stream that nobody finished is charged for what it used, and for no more than it held."""

    def test_the_client_leaves(self):
        with self.say(self.client(), "pace-100", stream=True, max_tokens=50) as stream:
            for _ in range(4):
                next(stream)
        self.assert_charged(self.gateway.billed_above(self.before))

    def test_the_provider_breaks_off(self):
        with self.assertRaises(Exception):
            list(self.say(self.client(), "cut-mid-stream", stream=True, max_tokens=50))
        self.assert_charged(self.gateway.billed())

    def setUp(self):
        self.before = self.gateway.billed()

    def assert_charged(self, bill):
        charged = bill - self.before
        self.assertGreater(charged, 0)
        # No prompt here is as long as 1,000 bytes.
        self.assertLessEqual(charged, self.price.cost(1000, 50))
