"""What the scripted upstream answers: a pure function of the request, and of what was asked before.

The model's name is the script, so a test says what it wants in the one field every client sends:

    usage-IN-OUT      reports exactly IN prompt tokens and OUT completion tokens
    words-N           answers with N words
    fail-STATUS       answers with this status in OpenAI's error shape; 429 carries Retry-After: 7
    flaky-N-TAG       fails with 500 the first N times this very name is asked, then answers
    slow-MS           waits before it answers
    pace-MS           streams with this pause between events
    drip-BYTES        streams in pieces of this many bytes
    no-usage          answers, but tells no usage
    cut-mid-stream    closes the connection in the middle of the answer
    error-in-stream   reports an error as an event after the first words
    garbage           says JSON (or events) and sends neither
    reset             resets the connection without an answer

Any other name answers with twelve words. A token is a word, and three more for each message, so
every count can be worked out by hand; it is never more than the bytes of the request, as with real
tokenizers. The only exception is `usage-IN-OUT`. Caps on the output are kept.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Iterator

CREATED = 1_800_000_000
DEFAULT_WORDS = 12
TOKENS_PER_MESSAGE = 3
VOCABULARY = "one two three four five six seven eight nine ten".split()
MODELS = ["words-8", "usage-1000-200"]


class Ending(enum.Enum):
    """How the connection ends after an answer."""

    KEEP = enum.auto()
    CUT = enum.auto()
    RESET = enum.auto()


@dataclasses.dataclass
class Answer:
    """A response, and how to send it. `stream` wins over `body`."""

    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    stream: list[bytes] | None = None
    delay_ms: int = 0
    pace_ms: int = 0
    drip_bytes: int = 0
    ending: Ending = Ending.KEEP

    def __post_init__(self) -> None:
        kind = "application/json" if self.stream is None else "text/event-stream"
        # A provider's own request id and account must not pass for the gateway's.
        self.headers = {
            "content-type": kind,
            "x-request-id": "upstream-request",
            "openai-processing-ms": "5",
            **self.headers,
        }


class Memory:
    """How often each model was asked, for scripts that change their mind."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()


def answer(method: str, path: str, body: dict, memory: Memory) -> Answer:
    """Answers one request."""
    if method == "GET" and path == "/v1/models":
        return as_json({"object": "list", "data": [model_row(name) for name in MODELS]})
    if method == "GET" and path.startswith("/v1/models/"):
        return as_json(model_row(path.removeprefix("/v1/models/")))
    endpoint = ENDPOINTS.get(path) if method == "POST" else None
    if endpoint is None:
        return failure(404, f"Unknown request URL: {method} {path}.", code="unknown_url")
    model = str(body.get("model", ""))
    memory.asked[model] += 1
    return refusal(model, memory.asked[model]) or staged(model, body, endpoint(body))


def refusal(model: str, times: int) -> Answer | None:
    """The failure that a model's name asks for, if any."""
    if found := re.fullmatch(r"fail-(\d{3})", model):
        status = int(found[1])
        headers = {"retry-after": "7"} if status == 429 else {}
        return failure(status, f"Scripted failure {status}.", headers=headers)
    if (found := re.match(r"flaky-(\d+)", model)) and times <= int(found[1]):
        return failure(500, f"Scripted failure, time {times}.")
    if model == "reset":
        return Answer(ending=Ending.RESET)
    return None


def staged(model: str, body: dict, whole: Answer) -> Answer:
    """Bends a good answer the way a model's name asks for."""
    if found := re.match(r"(slow|pace|drip)-(\d+)", model):
        field = {"slow": "delay_ms", "pace": "pace_ms", "drip": "drip_bytes"}[found[1]]
        return dataclasses.replace(whole, **{field: int(found[2])})
    events = whole.stream or []
    middle = len(events) // 2
    if model == "cut-mid-stream":
        half = events[:middle] or [whole.body[: len(whole.body) // 2]]
        headers = whole.headers
        return Answer(headers=headers, stream=half, ending=Ending.CUT)
    if model == "error-in-stream" and body.get("stream"):
        return dataclasses.replace(whole, stream=[*events[:middle], event(error("Scripted end."))])
    if model == "garbage" and body.get("stream"):
        return dataclasses.replace(whole, stream=[b"data: {not json\n\n", b"\xff\xfe\n\n"])
    if model == "garbage":
        return dataclasses.replace(whole, body=b"<html>not json</html>")
    return whole


# --- chat ---------------------------------------------------------------------------------------


def chat(body: dict) -> Answer:
    """`POST /v1/chat/completions`."""
    choice = tool_choice(body) or text_choice(body)
    usage = usage_of(body, chat_tokens(body), choice.tokens)
    if body.get("stream"):
        return Answer(stream=chat_events(body, choice, usage))
    choices = [
        {
            "index": index,
            "message": choice.message(),
            "logprobs": None,
            "finish_reason": choice.finish,
        }
        for index in range(count_of(body))
    ]
    return as_json({**chat_head(body, "chat.completion"), "choices": choices, **usage})


@dataclasses.dataclass
class Choice:
    """What the model says: words, or one call of a tool."""

    words: list[str]
    finish: str
    tool: str | None = None
    arguments: str = ""

    @property
    def tokens(self) -> int:
        """Completion tokens of one choice."""
        return len(self.words) if self.tool is None else TOKENS_PER_MESSAGE

    def message(self) -> dict:
        """As it stands in a whole answer."""
        if self.tool is None:
            return {"role": "assistant", "content": " ".join(self.words), "refusal": None}
        return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [self.call()]}

    def call(self) -> dict:
        """The tool call, whole."""
        function = {"name": self.tool, "arguments": self.arguments}
        return {"id": "call_scripted", "type": "function", "function": function}

    def deltas(self) -> Iterator[dict]:
        """As it comes in a stream: the role first, then piece by piece."""
        if self.tool is None:
            yield {"role": "assistant", "content": "", "refusal": None}
            for index, word in enumerate(self.words):
                yield {"content": word if index == 0 else f" {word}"}
            return
        first = self.call()
        first["function"]["arguments"] = ""
        yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **first}]}
        for start in range(0, len(self.arguments), 5):
            piece = self.arguments[start : start + 5]
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def tool_choice(body: dict) -> Choice | None:
    """Calls the first tool once; says something when a tool has already answered."""
    messages = body.get("messages") or [{}]
    answered = messages[-1].get("role") == "tool"
    if not body.get("tools") or body.get("tool_choice") == "none" or answered:
        return None
    function = body["tools"][0]["function"]
    names = function.get("parameters", {}).get("required", [])
    arguments = json.dumps({name: f"scripted {name}" for name in names})
    return Choice([], "tool_calls", function["name"], arguments)


def text_choice(body: dict) -> Choice:
    """As many words as the model's name says, or as the cap allows."""
    model = str(body.get("model", ""))
    found = re.fullmatch(r"words-(\d+)|usage-\d+-(\d+)", model)
    wanted = int(found[1] or found[2]) if found else DEFAULT_WORDS
    cap = body.get("max_completion_tokens") or body.get("max_tokens") or wanted
    words = [VOCABULARY[index % len(VOCABULARY)] for index in range(min(wanted, cap))]
    return Choice(words, "length" if cap < wanted else "stop")


def chat_events(body: dict, choice: Choice, usage: dict) -> list[bytes]:
    """The events of a streamed chat, usage last and only for those who ask."""
    asked = (body.get("stream_options") or {}).get("include_usage") and usage
    base = chat_head(body, "chat.completion.chunk") | ({"usage": None} if asked else {})
    deltas = [(delta, None) for delta in choice.deltas()] + [({}, choice.finish)]
    events = [
        event(
            {
                **base,
                "choices": [{"index": i, "delta": delta, "logprobs": None, "finish_reason": end}],
            }
        )
        for delta, end in deltas
        for i in range(count_of(body))
    ]
    if asked:
        events.append(event({**base, "choices": [], **usage}))
    return [*events, b"data: [DONE]\n\n"]


def chat_head(body: dict, kind: str) -> dict:
    """The fields every chat object begins with."""
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": CREATED,
        "model": body.get("model"),
    }


def chat_tokens(body: dict) -> int:
    """Words of all messages, and three for each."""
    return sum(TOKENS_PER_MESSAGE + words_in(message) for message in body.get("messages") or [])


def words_in(message: dict) -> int:
    """Words of a message's text, whether it is one text or several parts."""
    content = message.get("content") or ""
    texts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
    return sum(len(text.split()) for text in texts)


# --- the other endpoints ------------------------------------------------------------------------


def completions(body: dict) -> Answer:
    """`POST /v1/completions`."""
    choice = text_choice(body)
    prompt = sum(len(text.split()) for text in inputs_of(body, "prompt"))
    usage = usage_of(body, prompt, choice.tokens)
    base = {**chat_head(body, "text_completion"), "id": "cmpl-scripted"}
    if not body.get("stream"):
        row = {
            "index": 0,
            "text": " ".join(choice.words),
            "logprobs": None,
            "finish_reason": choice.finish,
        }
        return as_json({**base, "choices": [row], **usage})
    asked = (body.get("stream_options") or {}).get("include_usage") and usage
    base |= {"usage": None} if asked else {}
    texts = [(word + " ", None) for word in choice.words] + [("", choice.finish)]
    events = [
        event(
            {
                **base,
                "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": end}],
            }
        )
        for text, end in texts
    ]
    if asked:
        events.append(event({**base, "choices": [], **usage}))
    return Answer(stream=[*events, b"data: [DONE]\n\n"])


def embeddings(body: dict) -> Answer:
    """`POST /v1/embeddings`: a vector that depends on the text alone."""
    texts = inputs_of(body, "input")
    vectors = [vector(text, body.get("dimensions") or 8) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    rows = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return as_json({"object": "list", "data": rows, "model": body.get("model"), "usage": usage})


def moderations(body: dict) -> Answer:
    """`POST /v1/moderations`: flags every text with the word `violence`."""
    results = [
        {
            "flagged": (flagged := "violence" in text),
            "categories": {"violence": flagged},
            "category_scores": {"violence": 0.9 if flagged else 0.1},
        }
        for text in inputs_of(body, "input")
    ]
    return as_json({"id": "modr-scripted", "model": body.get("model"), "results": results})


ENDPOINTS = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/moderations": moderations,
}


def inputs_of(body: dict, field: str) -> list[str]:
    """The texts of a field that may be one text, several, or token numbers."""
    value = body.get(field) or ""
    items = [value] if isinstance(value, str) else value
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]


def vector(text: str, size: int) -> list[float]:
    """Numbers between 0 and 1 that a 32-bit float holds exactly."""
    digest = hashlib.shake_128(text.encode()).digest(size)
    return [byte / 256 for byte in digest]


# --- shapes -------------------------------------------------------------------------------------


def usage_of(body: dict, prompt: int, completion: int) -> dict:
    """The `usage` member, or nothing for a model that tells none."""
    model = str(body.get("model", ""))
    if model == "no-usage":
        return {}
    if found := re.fullmatch(r"usage-(\d+)-\d+", model):
        prompt = int(found[1])
    completion *= count_of(body)
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
    }


def count_of(body: dict) -> int:
    """How many choices are asked for."""
    return body.get("n") or 1


def model_row(name: str) -> dict:
    """One row of the model list."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "scripted"}


def as_json(value: dict) -> Answer:
    """A good answer."""
    return Answer(body=json.dumps(value).encode())


def event(value: dict) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error(message: str, kind: str = "server_error", code: str | None = None) -> dict:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def failure(
    status: int, message: str, *, code: str | None = None, headers: dict | None = None
) -> Answer:
    """An error answer whose type and code fit its status."""
    kind = {429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    body = json.dumps(error(message, kind, code or f"scripted_{status}")).encode()
    return Answer(status=status, headers=headers or {}, body=body)


def wrong_key() -> Answer:
    """What a provider says when the key is not its own."""
    return failure(401, "Incorrect API key provided to the upstream.", code="upstream_key")
