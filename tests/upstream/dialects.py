"""The scripted upstream in two more dialects: Anthropic's messages and Google's `generateContent`.

The model's name is the script here, too, as far as a dialect has a use for it: `usage-IN-OUT`,
`words-N`, `fail-STATUS`, `error-in-stream`, `cut-mid-stream`; at Anthropic also `interleaved`, which
thinks again between its text and a call. Counts are words, as in `script.py`.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import script
from script import Answer, Ending

ANTHROPIC = "/anthropic/v1/"
GOOGLE = "/google/v1beta/models"
STATUSES = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
KINDS = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
INTERLEAVED = [
    {"type": "thinking", "thinking": "Weather.", "signature": "Zmlyc3Q="},
    {"type": "text", "text": "Grüße! I look. "},
    {"type": "thinking", "thinking": "Oslo.", "signature": "c2Vjb25k"},
    {"type": "redacted_thinking", "data": "dGhpcmQ="},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
]


def answer(method: str, path: str, query: dict[str, str], body: dict) -> Answer | None:
    """Answers a request to one of the two; `None` for any other path."""
    if path.startswith(ANTHROPIC):
        return anthropic(method, path.removeprefix(ANTHROPIC), body)
    if path.startswith(GOOGLE):
        return google(method, unquote(path.removeprefix(GOOGLE)).lstrip("/"), query, body)
    return None


def wanted_key(path: str) -> str:
    """The header in which a provider's key is expected."""
    if path.startswith("/anthropic/"):
        return "x-api-key"
    return "x-goog-api-key" if path.startswith("/google/") else "authorization"


# --- Anthropic ----------------------------------------------------------------------------------


def anthropic(method: str, path: str, body: dict) -> Answer:
    if method == "GET" and path == "models":
        rows = [{"type": "model", "id": name, "display_name": name} for name in script.MODELS]
        return script.as_json({"data": rows, "has_more": False})
    if path == "messages/count_tokens":
        return script.as_json({"input_tokens": script.chat_tokens(body)})
    if path != "messages":
        return anthropic_failure(404)
    model = str(body.get("model", ""))
    if found := re.fullmatch(r"fail-(\d{3})", model):
        return anthropic_failure(int(found[1]))
    choice = script.text_choice(body)
    prompt = prompt_tokens(model, script.chat_tokens(body))
    message = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": 1},
    }
    content = [{"type": "text", "text": " ".join(choice.words)}]
    stop = "max_tokens" if choice.finish == "length" else "end_turn"
    if model == "interleaved":
        content, stop = INTERLEAVED, "tool_use"
    used = {"input_tokens": prompt, "output_tokens": choice.tokens}
    if not body.get("stream"):
        return anthropic_json({**message, "content": content, "stop_reason": stop, "usage": used})
    events = [
        named("message_start", message=message),
        named("ping"),
        *(event for index, block in enumerate(content) for event in block_events(index, block)),
        named(
            "message_delta",
            delta={"stop_reason": stop, "stop_sequence": None},
            usage={"output_tokens": choice.tokens},
        ),
        named("message_stop"),
    ]
    overloaded = {"type": "overloaded_error", "message": "Scripted end."}
    return bent(model, events, named("error", error=overloaded))


def block_events(index: int, block: dict) -> list[bytes]:
    """A block of a stream: empty at first, then its text word by word."""
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    words = re.findall(r"\s*\S+(?:\s+$)?", block.get("text", ""))
    deltas = {
        "text": [{"type": "text_delta", "text": word} for word in words],
        "thinking": [
            {"type": "thinking_delta", "thinking": block.get("thinking")},
            {"type": "signature_delta", "signature": block.get("signature")},
        ],
        "tool_use": [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input"))}],
    }
    begun = {name: empty.get(name, value) for name, value in block.items()}
    return [
        named("content_block_start", index=index, content_block=begun),
        *(
            named("content_block_delta", index=index, delta=delta)
            for delta in deltas.get(block["type"], [])
        ),
        named("content_block_stop", index=index),
    ]


def anthropic_json(value: dict, status: int = 200) -> Answer:
    headers = {"request-id": "req_upstream", "anthropic-organization-id": "org-upstream"}
    return Answer(status=status, headers=headers, body=json.dumps(value).encode())


def anthropic_failure(status: int) -> Answer:
    error = {"type": KINDS.get(status, "api_error"), "message": f"Scripted failure {status}."}
    return anthropic_json({"type": "error", "error": error, "request_id": "req_upstream"}, status)


def named(name: str, **members: object) -> bytes:
    """An event whose name stands twice, as Anthropic writes it."""
    return f"event: {name}\n".encode() + script.event({"type": name, **members})


# --- Google -------------------------------------------------------------------------------------


def google(method: str, path: str, query: dict[str, str], body: dict) -> Answer:
    if method == "GET" and not path:
        return script.as_json({"models": [{"name": f"models/{name}"} for name in script.MODELS]})
    model, _, verb = path.rpartition(":")
    if found := re.fullmatch(r"fail-(\d{3})", model):
        return google_failure(int(found[1]))
    parts = [part for content in body.get("contents") or [] for part in content["parts"]]
    spoken = sum(len(part.get("text", "").split()) for part in parts)
    prompt = prompt_tokens(model, spoken)
    if verb == "countTokens":
        return script.as_json({"totalTokens": prompt})
    cap = (body.get("generationConfig") or {}).get("maxOutputTokens")
    choice = script.text_choice({"model": model, "max_tokens": cap})
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": choice.tokens,
        "totalTokenCount": prompt + choice.tokens,
    }
    stop = "MAX_TOKENS" if choice.finish == "length" else "STOP"
    if verb == "generateContent":
        return script.as_json(chunk(model, " ".join(choice.words), usage, stop))
    if verb != "streamGenerateContent" or query.get("alt") != "sse":
        return google_failure(404)
    *first, last = texts(choice)
    events = [script.event(chunk(model, text, {"promptTokenCount": prompt})) for text in first]
    events.append(script.event(chunk(model, last, usage, stop)))
    return bent(model, events, script.event(google_error(503)))


def chunk(model: str, text: str, usage: dict, stop: str | None = None) -> dict:
    """A whole answer, or a part of one."""
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if stop:
        candidate["finishReason"] = stop
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}


def google_error(status: int) -> dict:
    error = {"code": status, "message": f"Scripted failure {status}."}
    return {"error": {**error, "status": STATUSES.get(status, "INTERNAL")}}


def google_failure(status: int) -> Answer:
    return Answer(status=status, body=json.dumps(google_error(status)).encode())


# --- both ---------------------------------------------------------------------------------------


def texts(choice: script.Choice) -> list[str]:
    """What a stream says, piece by piece."""
    return [word if index == 0 else f" {word}" for index, word in enumerate(choice.words)]


def prompt_tokens(model: str, counted: int) -> int:
    found = re.fullmatch(r"usage-(\d+)-\d+", model)
    return int(found[1]) if found else counted


def bent(model: str, events: list[bytes], error: bytes) -> Answer:
    """A stream, broken off where the model's name asks for it."""
    middle = len(events) // 2
    if model == "cut-mid-stream":
        return Answer(stream=events[:middle], ending=Ending.CUT)
    if model == "error-in-stream":
        return Answer(stream=[*events[:middle], error])
    return Answer(stream=events)
