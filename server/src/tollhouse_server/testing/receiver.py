"""An app's server on loopback, which keeps what it is sent and answers as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


Play = Callable[[BaseHTTPRequestHandler], object]


def answering(status: int, **headers: str) -> Play:
    """An answer without a body; `Retry_After="5"` is a header."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return play


class Receiver:
    """An app that hears of changes: a server on loopback that keeps what it is sent and answers as the test says."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, Play] = {}
        """Path → how it is answered; 204 where nothing is said."""
        self.over = threading.Event()
        """Set at the end, so that whoever hangs lets go."""

    def hang(self, path: str) -> None:
        """From now on requests for `path` are taken and not answered."""

        def play(handler: BaseHTTPRequestHandler) -> None:
            self.over.wait()
            handler.close_connection = True

        self.answers[path] = play

    def at(self, path: str) -> list[Received]:
        """What was sent there, in the order in which it came."""
        return [one for one in self.received if one.path == path]

    @contextmanager
    def running(self) -> Iterator[Self]:
        def handle(handler: BaseHTTPRequestHandler) -> None:
            length = int(handler.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.received.append(Received(handler.path, headers, handler.rfile.read(length)))
            self.answers.get(handler.path, answering(204))(handler)

        parts = {"do_POST": handle, "log_message": lambda *_: None, "protocol_version": "HTTP/1.1"}
        server = _ReceiverServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), parts))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.over.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _ReceiverServer(ThreadingHTTPServer):
    block_on_close = False  # a connection that is kept open for the next message must not keep the test

    def handle_error(self, request: object, client_address: object) -> None:
        """One who hangs up in the middle is part of these tests."""

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would look up the host's name
