"""Traces of the real binary, decoded by OpenTelemetry's own messages.

A collector of our own takes what the gateway posts, and the package `opentelemetry-proto` reads it: what
spans say of calls, who is inside whom, and what the provider is told.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 30
PROMPT, ANSWER = "a prompt that nobody else may see", "an answer that nobody else may see"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

CONFIG = """
[server]
listen = "127.0.0.1:{gateway}"
workers = 2
shutdown_deadline = "1s"
[store]
path = "conduit.redb"
[admin]
listen = "off"
socket = "admin.sock"
[providers.first]
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key_env = "KEY"
[providers.second]
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key_env = "KEY"
[models.plain]
provider = "first"
model = "gpt-4o-mini"
price = {{ input = 1, output = 2 }}
[models.twice]
price = {{ input = 1, output = 2 }}
targets = [
    {{ provider = "first", model = "broken", order = 1 }},
    {{ provider = "second", model = "gpt-4o-mini", order = 2 }},
]
"""


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def binary() -> pathlib.Path:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return pathlib.Path(os.environ.get("CONDUIT_BIN", target / "release/conduit")).resolve(strict=True)


class Server:
    """Answers by `answer`, and remembers what came."""

    def __init__(self, answer) -> None:
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, dict(self.headers.items()), body))
                answer(self, body)

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def whole(handler, status: int, body: bytes, kind: str = "application/json") -> None:
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 8}}


def provide(handler, body: bytes) -> None:
    """A provider: a model called `broken` is, and a stream takes half a second."""
    call = json.loads(body)
    if call["model"] == "broken":
        return whole(handler, 503, b'{"error":{"message":"no"}}')
    if not call.get("stream"):
        message = {"role": "assistant", "content": ANSWER}
        answer = {"id": "x", "object": "chat.completion", "model": "m", "usage": USAGE}
        answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return whole(handler, 200, json.dumps(answer).encode())
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()

    def event(data: str) -> None:
        text = f"data: {data}\n\n".encode()
        handler.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        handler.wfile.flush()

    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
    delta = {"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}
    event(json.dumps({**chunk, "choices": [delta]}))
    time.sleep(0.5)
    event(json.dumps({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    event(json.dumps({**chunk, "choices": [], "usage": USAGE}))
    event("[DONE]")
    handler.wfile.write(b"0\r\n\r\n")


def attributes(pairs) -> dict:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Gateway:
    """A gateway, its provider and its collector."""

    def __init__(self, test: unittest.TestCase, collect=None, more: str = "", **variables: str) -> None:
        self.folder = pathlib.Path(test.enterContext(tempfile.TemporaryDirectory()))
        self.upstream = Server(provide)
        self.collector = Server(collect or (lambda handler, _: whole(handler, 200, b"", "application/x-protobuf")))
        test.addCleanup(self.upstream.close)
        test.addCleanup(self.collector.close)
        self.port = free_port()
        config = self.folder / "conduit.toml"
        config.write_text(CONFIG.format(gateway=self.port, upstream=self.upstream.port) + more)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        variables.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{self.collector.port}")
        variables.setdefault("OTEL_BSP_SCHEDULE_DELAY", "50")
        self.environment = {**clean, "KEY": "secret-of-the-provider", "CONDUIT_CONFIG": str(config), **variables}
        self.start()
        test.addCleanup(self.stop)
        self.key = self.command("keys", "create", "k")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.child = subprocess.Popen([binary(), "serve"], env=self.environment, stderr=log)
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz").close()
                break
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def restart(self, config: str) -> None:
        """Starts again at the address that its configuration has now."""
        self.port = int(config.split('listen = "127.0.0.1:')[1].split('"')[0])
        self.start()

    def command(self, *arguments: str) -> str:
        command = [binary(), *arguments]
        run = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(PATIENCE)

    def call(self, model: str = "plain", key: str | None = None, stream: bool = False, **headers: str) -> int:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}
        headers |= {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for _, _, body in self.collector.seen]

    def spans(self, count: int) -> list[Span]:
        """All spans, once there are so many; by when they began, who is outside first."""
        end = time.monotonic() + PATIENCE
        while True:
            spans = [
                span
                for request in self.requests()
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            if len(spans) >= count or time.monotonic() > end:
                assert len(spans) == count, f"{len(spans)} spans\n{self.log()}"
                return sorted(spans, key=lambda span: (span.start_time_unix_nano, span.kind))
            time.sleep(0.05)


class Traces(unittest.TestCase):
    def test_a_call_is_a_span_with_its_attempt_inside(self) -> None:
        gateway = Gateway(
            self, OTEL_EXPORTER_OTLP_HEADERS="api-key=for%20us", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test"
        )
        before = time.time_ns()
        self.assertEqual(gateway.call(), 200)
        request, attempt = gateway.spans(2)
        path, headers, body = gateway.collector.seen[0]
        self.assertEqual((path, headers["content-type"]), ("/v1/traces", "application/x-protobuf"))
        self.assertEqual(headers["api-key"], "for us")
        resource = attributes(gateway.requests()[0].resource_spans[0].resource.attributes)
        self.assertEqual((resource["service.name"], resource["deployment.environment"]), ("conduit", "test"))
        for text in (PROMPT, ANSWER, gateway.key, "secret-of-the-provider"):
            self.assertNotIn(text.encode(), body)

        self.assertEqual((request.kind, request.name), (Span.SPAN_KIND_SERVER, "POST /v1/chat/completions"))
        self.assertEqual((request.parent_span_id, len(request.trace_id), len(request.span_id)), (b"", 16, 8))
        self.assertEqual(request.status.code, Status.STATUS_CODE_UNSET)
        said = attributes(request.attributes)
        self.assertEqual((said["http.request.method"], said["http.response.status_code"]), ("POST", 200))
        self.assertTrue(said["conduit.key.id"].startswith("key_"), said)

        self.assertEqual((attempt.kind, attempt.name), (Span.SPAN_KIND_CLIENT, "chat gpt-4o-mini"))
        self.assertEqual((attempt.trace_id, attempt.parent_span_id), (request.trace_id, request.span_id))
        expected = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 8,
            "server.address": "127.0.0.1",
            "server.port": gateway.upstream.port,
            "http.response.status_code": 200,
            "conduit.provider": "first",
        }
        said = attributes(attempt.attributes)
        self.assertEqual({name: said.get(name) for name in expected}, expected)
        slack = 10_000_000
        times = [before - slack, request.start_time_unix_nano, attempt.start_time_unix_nano]
        times += [attempt.end_time_unix_nano, request.end_time_unix_nano, time.time_ns() + slack]
        self.assertEqual(times, sorted(times))

    def test_what_was_said_is_in_no_span_unless_asked_for(self) -> None:
        calls = (("plain", False), ("plain", True), ("twice", False), ("twice", True))
        for more in ("", "[tracing]\ncapture_content = false\n"):
            gateway = Gateway(self, more=more)
            for model, stream in calls:
                self.assertEqual(gateway.call(model, stream=stream), 200)
            gateway.spans(10)
            for text in (PROMPT, ANSWER):
                self.assertFalse([body for _, _, body in gateway.collector.seen if text.encode() in body])
            self.assertNotIn("prompts and answers", gateway.log())
        gateway = Gateway(self, more="[tracing]\ncapture_content = true\n")
        self.assertIn("prompts and answers are sent to the collector", gateway.log())
        asked = [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
        part = {"type": "text", "content": ANSWER}
        answered = [{"role": "assistant", "parts": [part], "finish_reason": "stop"}]
        for model, stream in calls:
            gateway.collector.seen.clear()
            self.assertEqual(gateway.call(model, stream=stream), 200)
            request, *attempts = gateway.spans(3 if model == "twice" else 2)
            said = attributes(attempts[-1].attributes)
            self.assertEqual(json.loads(said["gen_ai.input.messages"]), asked)
            self.assertEqual(json.loads(said["gen_ai.output.messages"]), answered)
            # Only where the answer is from.
            for span in (request, *attempts[:-1]):
                self.assertFalse([n for n in attributes(span.attributes) if n.endswith("messages")])
            for text in (gateway.key, "secret-of-the-provider"):
                self.assertFalse([body for _, _, body in gateway.collector.seen if text.encode() in body])

    def test_a_client_s_trace_goes_through_to_the_provider(self) -> None:
        gateway = Gateway(self)
        traceparent = f"00-{TRACE}-{PARENT}-01"
        self.assertEqual(gateway.call(traceparent=traceparent, tracestate="a=b"), 200)
        request, attempt = gateway.spans(2)
        self.assertEqual((request.trace_id.hex(), request.parent_span_id.hex()), (TRACE, PARENT))
        _, headers, _ = gateway.upstream.seen[0]
        sent = {name.lower(): value for name, value in headers.items()}
        self.assertEqual(sent["traceparent"], f"00-{TRACE}-{attempt.span_id.hex()}-01")
        self.assertEqual(sent["tracestate"], "a=b")
        # A client whose trace is not taken is not in ours either, and its header goes on as it is.
        untaken = f"00-{TRACE}-{PARENT}-00"
        self.assertEqual(gateway.call(traceparent=untaken), 200)
        _, headers, _ = gateway.upstream.seen[1]
        self.assertEqual({k.lower(): v for k, v in headers.items()}["traceparent"], untaken)
        gateway.stop()
        gateway.spans(2)

    def test_a_stream_s_spans_end_with_its_body(self) -> None:
        gateway = Gateway(self)
        self.assertEqual(gateway.call(stream=True), 200)
        for span in gateway.spans(2):
            took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            self.assertGreater(took, 0.45, span.name)
        self.assertEqual(attributes(span.attributes)["gen_ai.usage.output_tokens"], 5)

    def test_each_attempt_has_a_span_of_its_own(self) -> None:
        gateway = Gateway(self)
        self.assertEqual(gateway.call("twice"), 200)
        request, first, second = gateway.spans(3)
        self.assertEqual({first.parent_span_id, second.parent_span_id}, {request.span_id})
        self.assertEqual(first.status.code, Status.STATUS_CODE_ERROR)
        self.assertEqual(second.status.code, Status.STATUS_CODE_UNSET)
        said = attributes(first.attributes)
        self.assertEqual((said["error.type"], said["http.response.status_code"]), ("503", 503))
        said = attributes(second.attributes)
        self.assertEqual((said["conduit.provider"], said["http.request.resend_count"]), ("second", 1))
        self.assertGreaterEqual(second.start_time_unix_nano, first.end_time_unix_nano)

    def test_what_is_refused_has_a_span_without_an_attempt(self) -> None:
        gateway = Gateway(self)
        self.assertEqual(gateway.call(key="wrong"), 401)
        self.assertEqual(gateway.call("nowhere"), 404)
        codes = [attributes(span.attributes)["http.response.status_code"] for span in gateway.spans(2)]
        self.assertEqual(codes, [401, 404])

    def test_what_waits_is_sent_before_the_end(self) -> None:
        gateway = Gateway(self, OTEL_BSP_SCHEDULE_DELAY="600000")
        self.assertEqual(gateway.call(), 200)
        time.sleep(0.2)
        self.assertEqual(gateway.collector.seen, [])
        gateway.stop()
        gateway.spans(2)

    def test_a_collector_that_is_busy_is_asked_again(self) -> None:
        answers = iter([503])

        def collect(handler, _) -> None:
            whole(handler, next(answers, 200), b"")

        gateway = Gateway(self, collect)
        self.assertEqual(gateway.call(), 200)
        end = time.monotonic() + PATIENCE
        while len(gateway.collector.seen) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        bodies = [body for _, _, body in gateway.collector.seen]
        self.assertEqual((len(bodies), bodies[0]), (2, bodies[1]))

    def test_a_collector_that_hangs_holds_nobody_up(self) -> None:
        over = threading.Event()
        self.addCleanup(over.set)
        gateway = Gateway(self, lambda *_: over.wait(PATIENCE))
        for _ in range(3):
            began = time.monotonic()
            self.assertEqual(gateway.call(), 200)
            self.assertLess(time.monotonic() - began, 5)
            time.sleep(0.1)
        self.assertTrue(gateway.collector.seen)
        began = time.monotonic()
        gateway.stop()
        self.assertEqual(gateway.child.returncode, 0, gateway.log())
        self.assertLess(time.monotonic() - began, 10)

    def test_a_head_of_nonsense_is_cut_and_holds_no_secret(self) -> None:
        gateway = Gateway(self)
        agent = f"sk-cdt-secret {'x' * 4000}"
        for traceparent in ("nonsense", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01" * 100):
            gateway.collector.seen.clear()
            self.assertEqual(gateway.call(**{"traceparent": traceparent, "User-Agent": agent}), 200)
            request, _ = gateway.spans(2)
            self.assertEqual(request.parent_span_id, b"")
        said = attributes(request.attributes)["user_agent.original"]
        self.assertTrue(said.startswith("(a secret) x") and len(said) <= 256, said)

    def test_nothing_is_sent_where_nobody_asked_for_it(self) -> None:
        for variables in (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
            {"OTEL_SDK_DISABLED": "true"},
            {"OTEL_TRACES_EXPORTER": "none"},
            {"OTEL_TRACES_SAMPLER": "always_off"},
        ):
            gateway = Gateway(self, **variables)
            self.assertEqual(gateway.call(), 200)
            gateway.stop()
            self.assertEqual(gateway.collector.seen, [], variables)
            _, headers, _ = gateway.upstream.seen[0]
            self.assertNotIn("traceparent", {name.lower() for name in headers})

    def test_a_variable_that_is_wrong_is_said(self) -> None:
        for name, value, why in (
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "is not a sampler"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "is no address for traces"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "name=value"),
        ):
            folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
            config = folder / "conduit.toml"
            config.write_text(CONFIG.format(gateway=1, upstream=1))
            environment = {**os.environ, "KEY": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
            run = subprocess.run([binary(), "check", str(config)], env=environment, capture_output=True, text=True)
            self.assertEqual(run.returncode, 78, run.stderr)
            self.assertIn(name, run.stderr)
            self.assertIn(why, run.stderr)


if __name__ == "__main__":
    unittest.main()
