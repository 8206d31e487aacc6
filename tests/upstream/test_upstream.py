"""The scripted upstream does what its suites rely on.

Everything else trusts these answers, so the few properties that carry the other suites are held
here: counts that can be worked out by hand, caps that are kept, usage only for those who ask.
"""

import json
import unittest

import script


def ask(path: str, memory: script.Memory | None = None, **body) -> script.Answer:
    return script.answer("POST", path, body, memory or script.Memory())


def chat(**body) -> script.Answer:
    messages = [{"role": "user", "content": "three little words"}]
    return ask("/v1/chat/completions", **{"messages": messages, **body})


def chunks(answer: script.Answer) -> list[dict]:
    lines = [part.removeprefix(b"data: ").strip() for part in answer.stream]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


class Script(unittest.TestCase):
    def test_tokens_are_words_and_three_for_the_message(self):
        usage = json.loads(chat(model="words-5").body)["usage"]
        self.assertEqual((usage["prompt_tokens"], usage["completion_tokens"]), (6, 5))

    def test_usage_is_what_the_name_says(self):
        usage = json.loads(chat(model="usage-1000-200").body)["usage"]
        self.assertEqual((usage["prompt_tokens"], usage["completion_tokens"]), (1000, 200))

    def test_a_cap_is_kept(self):
        body = json.loads(chat(model="words-50", max_tokens=4).body)
        self.assertEqual(body["usage"]["completion_tokens"], 4)
        self.assertEqual(body["choices"][0]["finish_reason"], "length")

    def test_a_stream_tells_usage_only_when_asked(self):
        silent = chunks(chat(model="m", stream=True))
        self.assertFalse(any("usage" in chunk for chunk in silent))
        asked = chunks(chat(model="m", stream=True, stream_options={"include_usage": True}))
        self.assertEqual([c["usage"] is None for c in asked], [True] * (len(asked) - 1) + [False])
        self.assertEqual(asked[-1]["choices"], [])

    def test_choices_are_counted(self):
        body = json.loads(chat(model="words-2", n=3).body)
        self.assertEqual((len(body["choices"]), body["usage"]["completion_tokens"]), (3, 6))

    def test_flaky_fails_as_often_as_it_says(self):
        memory = script.Memory()
        statuses = [chat(model="flaky-2-a", memory=memory).status for _ in range(3)]
        self.assertEqual(statuses, [500, 500, 200])

    def test_failures_carry_their_status(self):
        for status in (400, 404, 429, 500, 503):
            self.assertEqual(chat(model=f"fail-{status}").status, status)
        self.assertEqual(chat(model="fail-429").headers["retry-after"], "7")

    def test_an_unknown_path_is_404(self):
        self.assertEqual(ask("/v1/nothing").status, 404)


if __name__ == "__main__":
    unittest.main()
