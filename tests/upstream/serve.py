#!/usr/bin/env python3
"""The scripted upstream: a provider that speaks OpenAI's API over real TCP and does as it is told.
Below `/anthropic` and `/google` it speaks those dialects (see `dialects.py`).

The suites put it behind the gateway, choose its behaviour by model name (see `script.py`) and ask
it afterwards what it received. Standard library only, so that it runs wherever the tests do. It
never reaches the network and keeps nothing once it ends.

    serve.py [--port N] [--key SECRET]

The first line on stdout is `listening on 127.0.0.1:PORT`. Besides `/v1/…` it has

    GET    /__requests[?model=NAME]   what was received, oldest first: method, path, headers, body
    DELETE /__requests                forget all of it
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
import urllib.parse
from collections.abc import AsyncIterator

import dialects
import script

HEAD_LIMIT = 64 * 1024


@dataclasses.dataclass
class Request:
    """One request as it came, body included."""

    method: str
    path: str
    query: dict[str, str]
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header; names have no case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> dict:
        """The body as an object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def recorded(self) -> dict:
        """The form in which `/__requests` shows it."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": self.body.decode("utf-8", "replace"),
        }


class Upstream:
    """What is shared by all connections: the expected key, the record, the script's memory."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.record: list[Request] = []
        self.memory = script.Memory()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until it closes, or until the script breaks it."""
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.suppress(*gone):
            while (request := await read_request(reader)) is not None:
                if not await self.answer(request, writer):
                    break
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; false when the connection ends with it."""
        if request.path == "/__requests":
            return await send(writer, self.requests(request))
        self.record.append(request)
        if self.key is not None and not self.has_key(request):
            return await send(writer, script.wrong_key())
        body = request.json()
        answer = dialects.answer(request.method, request.path, request.query, body)
        answer = answer or script.answer(request.method, request.path, body, self.memory)
        return await send(writer, answer)

    def has_key(self, request: Request) -> bool:
        """Whether the provider's key came in the header of the dialect."""
        name = dialects.wanted_key(request.path)
        prefix = "Bearer " if name == "authorization" else ""
        return request.header(name) == f"{prefix}{self.key}"

    def requests(self, request: Request) -> script.Answer:
        """The record, whole or for one model."""
        if request.method == "DELETE":
            self.record.clear()
        model = request.query.get("model")
        rows = [r.recorded() for r in self.record if model in (None, r.json().get("model"))]
        return script.Answer(body=json.dumps(rows).encode())


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Reads one HTTP/1.1 request; `None` when the client has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _version = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    url = urllib.parse.urlsplit(target)
    query = dict(urllib.parse.parse_qsl(url.query))
    request = Request(method, url.path, query, headers, b"")
    request.body = await read_body(reader, request)
    return request


async def read_body(reader: asyncio.StreamReader, request: Request) -> bytes:
    """Reads a body of known length or in chunks."""
    if (request.header("transfer-encoding") or "").lower() != "chunked":
        return await reader.readexactly(int(request.header("content-length") or 0))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def send(writer: asyncio.StreamWriter, answer: script.Answer) -> bool:
    """Writes an answer the way its script says; false when the connection ends with it."""
    await asyncio.sleep(answer.delay_ms / 1000)
    if answer.ending is script.Ending.RESET:
        reset(writer)
        return False
    if answer.stream is None:
        writer.write(head(answer, f"content-length: {len(answer.body)}") + answer.body)
        await writer.drain()
        return True
    writer.write(head(answer, "transfer-encoding: chunked"))
    async for part in pieces(answer):
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        await writer.drain()
    if answer.ending is script.Ending.CUT:
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def pieces(answer: script.Answer) -> AsyncIterator[bytes]:
    """The stream's events, each whole or cut into small pieces, at the script's pace."""
    for event in answer.stream or ():
        size = answer.drip_bytes or len(event)
        for start in range(0, len(event), size):
            yield event[start : start + size]
            # Also at pace 0: each piece should leave in a packet of its own.
            await asyncio.sleep(answer.pace_ms / 1000)


def head(answer: script.Answer, framing: str) -> bytes:
    """The status line and the headers."""
    lines = [f"HTTP/1.1 {answer.status} Scripted", framing]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection by RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main() -> None:
    """Listens until it is stopped."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible provider.")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--key", help="refuse requests without this bearer key")
    options = parser.parse_args()
    upstream = Upstream(options.key)
    server = await asyncio.start_server(
        upstream.connection, "127.0.0.1", options.port, limit=HEAD_LIMIT, backlog=1024
    )
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
