"""Files that are much larger than what a gateway should keep in memory, sent by the official client."""

import pathlib
import socket
import tempfile
import threading
import time
from decimal import Decimal

from harness import GatewayCase

MEBIBYTE = 1 << 20
SIZE = 200 * MEBIBYTE
# What the process may grow by while such a file goes through it.
ROOM_KIB = 24 * 1024
ANSWER = b'{"text":"hello there"}'


class Sink:
    """A provider that reads what it is sent, keeps none of it, and answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.received = 0
        self.head = b""
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.serve(connection)

    def serve(self, connection):
        start = b""
        while b"\r\n\r\n" not in start:
            start += connection.recv(65536)
        self.head, _, rest = start.partition(b"\r\n\r\n")
        lines = self.head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        self.received = len(rest)
        while self.received < length:
            self.received += len(connection.recv(1 << 18))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
        )


class Forms(GatewayCase):
    """A provider of transcripts beside the scripted one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sink = Sink()
        cls.addClassCleanup(cls.sink.listener.close)
        config = cls.gateway.config.read_text()
        config = config.replace("[server]\n", '[server]\nmax_body = "256MiB"\n')
        cls.gateway.config.write_text(
            f'{config}\n[providers.sink]\nkind = "openai"\n'
            f'base_url = "http://127.0.0.1:{cls.sink.port}/v1"\napi_key_env = "MOCK_KEY"\n'
            '[models.heard]\nprovider = "sink"\nmodel = "whisper-1"\n'
            "price = { audio_second = 0.0001 }\n"
        )
        deadline = time.monotonic() + 10
        while "sink" not in cls.gateway.command("admin", "prices", "heard"):
            assert time.monotonic() < deadline, "the configuration was not taken"
            time.sleep(0.05)

    def peak_kib(self):
        """The most memory that the process has had so far."""
        status = pathlib.Path(f"/proc/{self.gateway.process.child.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    def test_a_large_file_needs_no_memory(self):
        secret = self.gateway.key("listener", daily="1000")
        client = self.client(secret=secret, timeout=120)
        with tempfile.TemporaryFile() as file:
            file.truncate(2 * MEBIBYTE)
            client.audio.transcriptions.create(model="heard", file=("small.mp3", file))
            before = self.peak_kib()
            file.truncate(SIZE)
            file.seek(0)
            answer = client.audio.transcriptions.create(model="heard", file=("large.mp3", file))
        grown = self.peak_kib() - before
        self.assertEqual(answer.text, "hello there")
        self.assertGreater(self.sink.received, SIZE)
        self.assertIn(b"POST /v1/audio/transcriptions", self.sink.head)
        self.assertLess(grown, ROOM_KIB, f"{grown} KiB for a file of {SIZE // 1024} KiB")
        # Sixteen bytes are taken for a thousandth of a second where the answer does not tell.
        milliseconds = (2 * MEBIBYTE + SIZE) // 16
        self.assertEqual(self.gateway.billed(), milliseconds * Decimal("0.0000001"))
