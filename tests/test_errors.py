"""The exception tree: bases, attributes, texts, and that nothing is lost in pickles and copies."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import re
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

import angelia
from angelia import errors
from angelia.core.auth import BasicAuth
from angelia.errors import PastResponse, Scope
from angelia.net.connection_key import ConnectionKey
from angelia.net.tls import Fingerprint
from peers.raw import RawServer, read_request, response

KEY = ConnectionKey("example.org", 443, True)
REFUSED = ConnectionRefusedError(111, "Connection refused")
HEADERS = CIMultiDictProxy(CIMultiDict({"X-A": "1"}))
INFO = angelia.RequestInfo(
    URL("http://example.org/a"), "GET", HEADERS, URL("http://example.org/a#b")
)
PAST = PastResponse("GET", INFO.url, INFO.real_url, 302, "Found", None, CIMultiDict(), INFO)

# Each class of the tree with its direct bases.
TREE: dict[type[BaseException], tuple[type[BaseException], ...]] = {
    errors.BadContentDispositionHeader: (RuntimeWarning,),
    errors.BadContentDispositionParam: (RuntimeWarning,),
    errors.ClientError: (Exception,),
    errors.ClientConnectionError: (errors.ClientError,),
    errors.ClientConnectionResetError: (errors.ClientConnectionError, ConnectionResetError),
    errors.ClientOSError: (errors.ClientConnectionError, OSError),
    errors.ClientConnectorError: (errors.ClientOSError,),
    errors.ClientConnectorDNSError: (errors.ClientConnectorError,),
    errors.ClientProxyConnectionError: (errors.ClientConnectorError,),
    errors.UnixClientConnectorError: (errors.ClientConnectorError,),
    errors.ClientSSLError: (errors.ClientConnectorError,),
    errors.ClientConnectorSSLError: (errors.ClientSSLError, ssl.SSLError),
    errors.ClientConnectorCertificateError: (errors.ClientSSLError, ssl.CertificateError),
    errors.ServerConnectionError: (errors.ClientConnectionError,),
    errors.ServerDisconnectedError: (errors.ServerConnectionError,),
    errors.ServerFingerprintMismatch: (errors.ServerConnectionError,),
    errors.ServerTimeoutError: (errors.ServerConnectionError, asyncio.TimeoutError),
    errors.ConnectionTimeoutError: (errors.ServerTimeoutError,),
    errors.PoolTimeoutError: (errors.ConnectionTimeoutError,),
    errors.SocketTimeoutError: (errors.ServerTimeoutError,),
    errors.ClientPayloadError: (errors.ClientError,),
    errors.MultipartError: (errors.ClientPayloadError, ValueError),
    errors.PartTooLargeError: (ValueError,),
    errors.UploadAbortedError: (errors.ClientError,),
    errors.ClientResponseError: (errors.ClientError,),
    errors.ClientHttpProxyError: (errors.ClientResponseError,),
    errors.ContentTypeError: (errors.ClientResponseError,),
    errors.TooManyRedirects: (errors.ClientResponseError,),
    errors.WSServerHandshakeError: (errors.ClientResponseError,),
    errors.InvalidURL: (errors.ClientError, ValueError),
    errors.InvalidUrlClientError: (errors.InvalidURL,),
    errors.RedirectClientError: (errors.ClientError,),
    errors.NonHttpUrlClientError: (errors.ClientError,),
    errors.InvalidUrlRedirectClientError: (
        errors.InvalidUrlClientError,
        errors.RedirectClientError,
    ),
    errors.NonHttpUrlRedirectClientError: (
        errors.NonHttpUrlClientError,
        errors.RedirectClientError,
    ),
    errors.TotalTimeoutError: (asyncio.TimeoutError,),
    errors.EofStream: (Exception,),
    errors.WSMessageTypeError: (TypeError,),
    errors.ProtocolError: (Exception,),
    errors.LocalProtocolError: (errors.ProtocolError,),
    errors.RemoteProtocolError: (errors.ProtocolError,),
    errors.HeadError: (errors.RemoteProtocolError,),
    errors.LineTooLong: (errors.HeadError,),
    errors.ContentError: (errors.RemoteProtocolError,),
    errors.IncompleteContent: (errors.ContentError,),
    errors.HandshakeError: (errors.RemoteProtocolError,),
    errors.PeerClosed: (errors.RemoteProtocolError,),
    errors.WebSocketError: (errors.RemoteProtocolError,),
}

PROTOCOL_FACTS = {"message": "no", "status": 413, "scope": Scope.STREAM}
RESPONSE_FACTS = {
    "request_info": INFO,
    "history": (PAST,),
    "status": 404,
    "message": "Not Found",
    "headers": CIMultiDict({"X-B": "2"}),
}
WHERE = "Cannot connect to host example.org:443 ssl:default"
SSL_FACTS = {"host": "example.org", "port": 443, "ssl": True}


def of_response(cls: type[errors.ClientResponseError]) -> errors.ClientResponseError:
    return cls(INFO, (PAST,), status=404, message="Not Found", headers=CIMultiDict({"X-B": "2"}))


def of_tls(cls: type[ssl.SSLError]) -> ssl.SSLError:
    """As the ssl module makes them."""
    error = cls(1, "certificate verify failed")
    error.reason, error.library = "CERTIFICATE_VERIFY_FAILED", "SSL"
    return error


def of_certificate() -> ssl.SSLCertVerificationError:
    error = of_tls(ssl.SSLCertVerificationError)
    assert isinstance(error, ssl.SSLCertVerificationError)
    error.verify_code, error.verify_message = 18, "self-signed certificate"
    return error


TLS_ERROR = of_tls(ssl.SSLError)
CERTIFICATE_ERROR = of_certificate()

# For each class: an error of it, its attributes, its text.
SAMPLES: list[tuple[BaseException, dict[str, Any], str]] = [
    (errors.BadContentDispositionHeader("x"), {"args": ("x",)}, "x"),
    (errors.BadContentDispositionParam("x"), {"args": ("x",)}, "x"),
    (errors.ClientError("x"), {"args": ("x",), "request_sent": None}, "x"),
    (errors.ClientConnectionError("x"), {"args": ("x",)}, "x"),
    (errors.ClientConnectionResetError("lost"), {"args": ("lost",), "errno": None}, "lost"),
    (
        errors.ClientConnectionResetError(104, "reset"),
        {"errno": 104, "strerror": "reset"},
        "[Errno 104] reset",
    ),
    (errors.ClientOSError(9, "bad"), {"errno": 9, "strerror": "bad"}, "[Errno 9] bad"),
    (
        errors.ClientConnectorError(KEY, REFUSED),
        {
            "errno": 111,
            "strerror": "Connection refused",
            "os_error": REFUSED,
            "args": (KEY, REFUSED),
            **SSL_FACTS,
        },
        f"{WHERE} [Connection refused]",
    ),
    (
        errors.ClientConnectorError(KEY._replace(ssl=False), OSError()),
        {"errno": None, "ssl": False},
        "Cannot connect to host example.org:443 ssl:False [OSError()]",
    ),
    (
        errors.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")),
        {"errno": -2, **SSL_FACTS},
        f"{WHERE} [Name or service not known]",
    ),
    (
        errors.ClientProxyConnectionError(KEY, REFUSED),
        {"os_error": REFUSED, **SSL_FACTS},
        "Cannot connect to proxy example.org:443 [Connection refused]",
    ),
    (
        errors.UnixClientConnectorError("/run/x", KEY, REFUSED),
        {"path": "/run/x", "os_error": REFUSED, **SSL_FACTS},
        "Cannot connect to unix socket /run/x ssl:default [Connection refused]",
    ),
    (
        errors.ClientSSLError(KEY, TLS_ERROR),
        {"reason": "CERTIFICATE_VERIFY_FAILED", "library": "SSL", **SSL_FACTS},
        f"{WHERE} [certificate verify failed]",
    ),
    (
        errors.ClientConnectorSSLError(KEY, TLS_ERROR),
        {"os_error": TLS_ERROR, "reason": "CERTIFICATE_VERIFY_FAILED", **SSL_FACTS},
        f"{WHERE} [certificate verify failed]",
    ),
    (
        errors.ClientConnectorCertificateError(KEY, CERTIFICATE_ERROR),
        {
            "certificate_error": CERTIFICATE_ERROR,
            "os_error": CERTIFICATE_ERROR,
            "reason": "CERTIFICATE_VERIFY_FAILED",
            "verify_code": 18,
            "verify_message": "self-signed certificate",
            **SSL_FACTS,
        },
        f"{WHERE} [SSLCertVerificationError: {CERTIFICATE_ERROR}]",
    ),
    (errors.ServerConnectionError("x"), {"args": ("x",)}, "x"),
    (
        errors.ServerDisconnectedError(),
        {"message": "Server disconnected"},
        "Server disconnected",
    ),
    (errors.ServerDisconnectedError(b"HTT"), {"message": b"HTT"}, "b'HTT'"),
    (
        errors.ServerFingerprintMismatch(b"\1", b"\2", "example.org", 443),
        {"expected": b"\1", "got": b"\2", "host": "example.org", "port": 443},
        "certificate of example.org:443 has the fingerprint 02, expected 01",
    ),
    (errors.ServerTimeoutError("slow"), {"args": ("slow",), "errno": None}, "slow"),
    (errors.ConnectionTimeoutError("slow"), {"args": ("slow",)}, "slow"),
    (errors.PoolTimeoutError("slow"), {"args": ("slow",)}, "slow"),
    (errors.SocketTimeoutError("slow"), {"args": ("slow",)}, "slow"),
    (errors.ClientPayloadError("x"), {"received": None, "expected": None}, "x"),
    (errors.MultipartError("x"), {"args": ("x",)}, "x"),
    (
        errors.PartTooLargeError(10, 12),
        {"max_size": 10, "actual_size": 12},
        "a part is larger than 10 bytes: 12 have come",
    ),
    (errors.UploadAbortedError("x"), {"args": ("x",)}, "x"),
    *(
        (of_response(cls), RESPONSE_FACTS, "404, message='Not Found', url='http://example.org/a#b'")
        for cls in (
            errors.ClientResponseError,
            errors.ClientHttpProxyError,
            errors.ContentTypeError,
            errors.TooManyRedirects,
            errors.WSServerHandshakeError,
        )
    ),
    *(
        (
            cls("http://", "no host"),
            {"url": "http://", "description": "no host"},
            "http:// - no host",
        )
        for cls in (
            errors.InvalidURL,
            errors.InvalidUrlClientError,
            errors.InvalidUrlRedirectClientError,
        )
    ),
    (errors.InvalidURL(URL("/a")), {"url": URL("/a"), "description": None}, "/a"),
    (errors.RedirectClientError("x"), {"args": ("x",)}, "x"),
    (errors.NonHttpUrlClientError(URL("ftp://a/")), {"args": (URL("ftp://a/"),)}, "ftp://a/"),
    (
        errors.NonHttpUrlRedirectClientError("data:,"),
        {"args": ("data:,",)},
        "data:,",
    ),
    (errors.TotalTimeoutError("slow"), {"args": ("slow",), "request_sent": None}, "slow"),
    (errors.EofStream(), {"args": ()}, ""),
    (errors.WSMessageTypeError("m"), {"args": ("m",)}, "m"),
    *(
        (cls("no", status=413, scope=Scope.STREAM), PROTOCOL_FACTS, "no")
        for cls in (
            errors.ProtocolError,
            errors.LocalProtocolError,
            errors.RemoteProtocolError,
            errors.HeadError,
            errors.ContentError,
        )
    ),
    (errors.LineTooLong("long", limit=9), {"limit": 9, "status": 431, "message": "long"}, "long"),
    (
        errors.IncompleteContent(3, 5),
        {"received": 3, "expected": 5},
        "content ended early: received 3 bytes, expected 5 bytes",
    ),
    (
        errors.IncompleteContent(3, None),
        {"received": 3, "expected": None},
        "content ended early: received 3 bytes, expected a final chunk",
    ),
    (
        errors.HandshakeError("no", field="upgrade", found="x", headers=(("A", "b"),), status=426),
        {"field": "upgrade", "found": "x", "headers": (("A", "b"),), "status": 426},
        "no",
    ),
    (
        errors.PeerClosed(bytearray(b"HTTP")),
        {"partial": b"HTTP"},
        "connection closed before a whole head had come",
    ),
    (errors.WebSocketError(1002, "no"), {"code": 1002, "message": "no"}, "no"),
]

IDS = [type(sample[0]).__name__ for sample in SAMPLES]


def same(one: object, other: object) -> bool:
    """Equality, and for errors, which have none, the same class and the same arguments."""
    if isinstance(one, BaseException) and isinstance(other, BaseException):
        return type(one) is type(other) and same(one.args, other.args)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def own_classes() -> set[type[BaseException]]:
    return {
        value
        for value in vars(errors).values()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == errors.__name__
    }


class TestTree:
    """Which class is what."""

    def test_each_class_is_in_the_tree(self) -> None:
        """The tables here know every class of the module, and the module exports every class."""
        assert set(TREE) == own_classes()
        assert {type(sample[0]) for sample in SAMPLES} == own_classes()
        assert {cls.__name__ for cls in TREE} <= set(errors.__all__)

    @pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
    def test_bases(self, cls: type[BaseException]) -> None:
        """Each class has its documented bases."""
        assert cls.__bases__ == TREE[cls]

    @pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
    def test_drawn(self, cls: type[BaseException]) -> None:
        """The drawing in the module's docstring has every class; warnings are none."""
        if not issubclass(cls, Warning):
            assert re.search(
                rf"── {cls.__name__}\b|^    {cls.__name__}\b", errors.__doc__ or "", re.MULTILINE
            )

    def test_public(self) -> None:
        """What a caller may want to catch is a name of the package."""
        inner = (errors.ProtocolError, errors.MultipartError, errors.PartTooLargeError)
        for cls in TREE:
            if issubclass(cls, inner):
                continue
            assert getattr(angelia, cls.__name__) is cls


class TestFacts:
    """Attributes and texts."""

    @pytest.mark.parametrize(("error", "facts", "text"), SAMPLES, ids=IDS)
    def test_attributes(self, error: BaseException, facts: dict[str, Any], text: str) -> None:
        """The facts are attributes, and the text says them."""
        assert {name: getattr(error, name) for name in facts} == facts
        assert str(error) == text

    @pytest.mark.parametrize(("error", "facts", "text"), SAMPLES, ids=IDS)
    def test_repr(self, error: BaseException, facts: dict[str, Any], text: str) -> None:
        """The representation names the class."""
        assert type(error).__name__ in repr(error)

    def test_repr_of_a_response_error(self) -> None:
        """What is not known of a response is not in the representation."""
        error = errors.ClientResponseError(None, ())
        assert repr(error) == "ClientResponseError(None, ())"
        assert str(error) == "0, message='', url='None'"
        error = errors.ContentTypeError(
            None, (), status=400, message="no", headers=CIMultiDict({"Set-Cookie": "secret=1"})
        )
        assert repr(error).startswith(
            "ContentTypeError(None, (), status=400, message='no', headers="
        )
        assert "secret" not in repr(error)

    def test_code(self) -> None:
        """`code` is a deprecated name of `status`: argument and attribute warn at their place."""
        with pytest.warns(DeprecationWarning, match="use status") as seen:
            error = errors.ClientResponseError(None, (), code=404)
        assert error.status == 404
        with pytest.warns(DeprecationWarning, match="use status") as read:
            assert error.code == 404
        with pytest.warns(DeprecationWarning, match="use status") as written:
            error.code = 500
        assert error.status == 500
        assert [item.filename for item in [*seen, *read, *written]] == [__file__] * 3

    def test_code_and_status(self) -> None:
        """Both at once contradict each other."""
        with pytest.raises(ValueError, match="status"):
            errors.ClientResponseError(None, (), code=404, status=404)

    def test_certificate_error_of_another_kind(self) -> None:
        """A certificate error that is no `OSError` has one made of its text."""
        error = errors.ClientConnectorCertificateError(KEY, ValueError("wrong name"))
        assert isinstance(error.certificate_error, ValueError)
        assert isinstance(error.os_error, OSError)
        assert "ValueError: wrong name" in str(error)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert str(again) == str(error)
        assert str(again.os_error) == str(error.os_error)

    def test_errors_are_compared_by_identity(self) -> None:
        """As exceptions are: two errors that say the same are two errors."""
        assert errors.ClientError("x") != errors.ClientError("x")


def pickled(error: BaseException) -> BaseException:
    result: BaseException = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    return result


@pytest.mark.parametrize(
    "travel", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
class TestTravel:
    """An error that went through a pickle or a copy says what it said."""

    @pytest.mark.parametrize(("error", "facts", "text"), SAMPLES, ids=IDS)
    def test_same(
        self,
        travel: Callable[[BaseException], BaseException],
        error: BaseException,
        facts: dict[str, Any],
        text: str,
    ) -> None:
        """Class, arguments, attributes and texts stay; those that were set by hand, too."""
        error.__dict__["by_hand"] = [1]
        if isinstance(error, errors.ClientError | errors.TotalTimeoutError):
            error.request_sent = True
        again = travel(error)
        assert again is not error
        assert type(again) is type(error)
        assert same(again.args, error.args)
        for name in facts:
            assert same(getattr(again, name), getattr(error, name)), name
        assert str(again) == text
        assert repr(again) == repr(error)
        assert vars(again).keys() == vars(error).keys()
        assert again.__dict__["by_hand"] == [1]
        assert getattr(again, "request_sent", True) is True

    def test_counts_of_a_payload_error(
        self, travel: Callable[[BaseException], BaseException]
    ) -> None:
        """`received` and `expected` stay."""
        error = errors.ClientPayloadError("short")
        error.received, error.expected = 3, 5
        again = travel(error)
        assert isinstance(again, errors.ClientPayloadError)
        assert (again.received, again.expected) == (3, 5)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_notes(self, travel: Callable[[BaseException], BaseException], protocol: int) -> None:
        """PEP 678: notes are attributes like others."""
        error = errors.ClientOSError(1, "x")
        error.add_note("while asking")
        assert travel(error).__notes__ == ["while asking"]
        old = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
        assert old.__notes__ == ["while asking"]

    def test_settings_of_a_connection(
        self, travel: Callable[[BaseException], BaseException]
    ) -> None:
        """A context cannot travel: a pickle has its name, a copy has itself; all else stays."""
        context = ssl.create_default_context()
        key = KEY._replace(
            ssl=context,
            proxy=URL("http://proxy:3128"),
            proxy_auth=BasicAuth("user", "secret"),
            proxy_headers=(("A", "b"),),
        )
        error = errors.ClientConnectorSSLError(key, TLS_ERROR)
        again = travel(error)
        assert isinstance(again, errors.ClientConnectorSSLError)
        assert str(again) == str(error)
        assert again.ssl == (repr(context) if travel is pickled else context)
        there = again.args[0]
        assert there._replace(ssl=True) == key._replace(ssl=True)
        pinned = errors.ClientConnectorError(KEY._replace(ssl=Fingerprint(b"x" * 32)), REFUSED)
        back = travel(pinned)
        assert isinstance(back, errors.ClientConnectorError)
        assert back.ssl == Fingerprint(b"x" * 32)

    async def test_of_a_real_exchange(
        self, travel: Callable[[BaseException], BaseException]
    ) -> None:
        """An error raised by a request travels, with what led there."""
        answers = [
            response(b"", "Location: /b", "X-Hop: 1", status="302 Found"),
            response(b"no", "X-Why: no", status="404 Not Found"),
        ]
        async with RawServer(answers) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientResponseError) as caught:
                await session.get(server.url / "a", raise_for_status=True)
            again = travel(caught.value)
        assert isinstance(again, angelia.ClientResponseError)
        assert isinstance(again.headers, CIMultiDict | CIMultiDictProxy)
        assert again.headers["x-why"] == "no"
        assert again.status == 404
        assert again.message == "Not Found"
        assert again.request_info == caught.value.request_info
        assert again.request_info.real_url == server.url / "b"
        (hop,) = again.history
        assert hop.status == 302
        assert hop.reason == "Found"
        assert hop.url == hop.real_url == server.url / "a"
        assert hop.method == "GET"
        assert hop.headers["x-hop"] == "1"
        assert hop.version == angelia.HttpVersion11
        assert hop.request_info.url == server.url / "a"
        assert hop.ok
        assert again.args == (again.request_info, again.history)
        assert isinstance(hop, PastResponse) is (travel is pickled)
        if travel is pickled:
            assert pickled(again).history == again.history  # type: ignore[attr-defined]  # above


class TestCauses:
    """The cause says what an error comes from."""

    @pytest.mark.parametrize(("error", "facts", "text"), SAMPLES, ids=IDS)
    def test_copied(self, error: BaseException, facts: dict[str, Any], text: str) -> None:
        """A copy of one of the library's errors has its cause; a warning is just a warning."""
        if not isinstance(error, errors.ClientError | errors.ProtocolError):
            return
        cause = OSError(1, "x")
        try:
            raise error from cause
        except type(error) as raised:
            again = copy.copy(raised)
            deep = copy.deepcopy(raised)
        finally:
            error.__cause__ = error.__traceback__ = None
        assert again.__cause__ is cause
        assert again.__suppress_context__
        assert again.__traceback__ is None
        if isinstance(error, errors.ClientResponseError):
            assert deep.__cause__ is cause

    async def test_through_a_future(self) -> None:
        """What the connection broke on is the cause of what a waiting request raises."""
        answers = [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        async with RawServer(answers) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientResponseError) as caught:
                await session.get(server.url)
        assert isinstance(caught.value.__cause__, errors.ProtocolError)
        assert caught.value.request_sent is True


class TestRequestSent:
    """`request_sent`: may the server have seen the request?"""

    async def test_refused(self) -> None:
        """Nothing was sent where there was no connection."""
        async with RawServer([]) as server:
            url = server.url
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientConnectorError) as caught:
                await session.get(url)
        assert not caught.value.request_sent

    async def test_disconnected(self) -> None:
        """A server that closes without an answer may have seen all of it."""

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)

        async with RawServer(hang_up) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ServerDisconnectedError) as caught:
                await session.post(server.url)
        assert caught.value.request_sent is True


class TestWithoutTLS:
    """A Python that was built without the `ssl` module."""

    def test_plain_http(self) -> None:
        """Plain HTTP works; https raises RuntimeError; the TLS errors are there, and OSErrors."""
        program = """
            import sys
            sys.modules["ssl"] = sys.modules["_ssl"] = None
            import asyncio, pickle
            import angelia
            from angelia import errors
            from angelia.net.connection_key import ConnectionKey
            from angelia.net.tls import Fingerprint

            async def serve(reader, writer):
                await reader.readuntil(b"\\r\\n\\r\\n")
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
                await writer.drain()
                writer.close()

            async def main():
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                port = server.sockets[0].getsockname()[1]
                async with angelia.ClientSession() as session:
                    async with session.get(f"http://127.0.0.1:{port}/") as resp:
                        print(resp.status, await resp.text())
                    for ssl in (True, False, Fingerprint(b"x" * 32)):
                        try:
                            await session.get(f"https://127.0.0.1:{port}/", ssl=ssl)
                        except RuntimeError as error:
                            print(error)
                server.close()
                await server.wait_closed()

            asyncio.run(main())
            key = ConnectionKey("a", 1, True)
            for cls in (errors.ClientConnectorSSLError, errors.ClientConnectorCertificateError):
                error = pickle.loads(pickle.dumps(cls(key, OSError(1, "x"))))
                print(isinstance(error, OSError), isinstance(error, ValueError), error)
            import angelia.cli.calls
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        no_tls = "SSL is not supported: this Python was built without the ssl module"
        where = "Cannot connect to host a:1 ssl:default"
        assert done.stderr == ""
        assert done.stdout.splitlines() == [
            "200 ok",
            no_tls,
            no_tls,
            no_tls,
            f"True False {where} [x]",
            f"True True {where} [PermissionError: [Errno 1] x]",
        ]
