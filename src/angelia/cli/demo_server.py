"""The server of ``angelia demo``: the standard library's, on the loopback interface, in a thread.

Owns: what it answers. Must not know the client, nor need a network or a name service.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

__all__ = ("GZIPPED_TEXT", "STREAM_LINES", "serve")

GZIPPED_TEXT: Final = "A message is worth more than its size. " * 100
STREAM_LINES: Final = 5
# The content that /broken announces; it sends less.
ANNOUNCED: Final = 1000
# A client without a bound on its requests does not wait longer than this for /slow.
SLOW: Final = 5.0
# Larger bodies are nothing that the demonstration sends.
MAX_BODY: Final = 1024 * 1024


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # As many as the demonstration opens at once, and more.
    request_queue_size = 64

    def __init__(self) -> None:
        # Set when the server ends, so that nothing outlives it.
        self.ending = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service what this host is called.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the demonstration."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # One segment per response.
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, content: bytes, content_type: str, *fields: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer_json(self, value: object, *fields: tuple[str, str]) -> None:
        self._answer(json.dumps(value).encode(), "application/json", *fields)

    def do_GET(self) -> None:
        """Answer with what the path stands for."""
        path = self.path.partition("?")[0]
        answers = {
            "/hello": self._hello,
            "/stream": self._stream,
            "/moved": self._moved,
            "/login": self._login,
            "/whoami": self._whoami,
            "/gzip": self._gzip,
            "/broken": self._broken,
            "/slow": self._slow,
        }
        answer = answers.get(path)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def do_POST(self) -> None:
        """Send back what came, as JSON."""
        length = self.headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdigit() else MAX_BODY + 1
        if size > MAX_BODY:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(size)
        self._answer_json({"type": self.headers.get("Content-Type"), "body": body.decode()})

    def _hello(self) -> None:
        self._answer(b"hello, world\n", "text/plain; charset=utf-8")

    def _stream(self) -> None:
        """Chunked content, each line as soon as there is one."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(STREAM_LINES):
            line = json.dumps({"line": number}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def _moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/hello")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _login(self) -> None:
        self._answer_json({"ok": True}, ("Set-Cookie", "session=s3cret; Path=/; HttpOnly"))

    def _whoami(self) -> None:
        self._answer_json({"cookie": self.headers.get("Cookie")})

    def _gzip(self) -> None:
        coded = gzip.compress(GZIPPED_TEXT.encode())
        self._answer(coded, "text/plain; charset=utf-8", ("Content-Encoding", "gzip"))

    def _broken(self) -> None:
        """Less content than announced, and the end of the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", str(ANNOUNCED))
        self.end_headers()
        self.wfile.write(b"only this")

    def _slow(self) -> None:
        self.server.ending.wait(SLOW)
        self._hello()


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run the server for the time of the ``with``; gives its URL, without a slash at the end."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
