"""TLS against servers that are not who they say, and against connections that were made otherwise.

Held here:

- wrong host, expired, not yet valid, self-signed, unknown authority; addresses in certificates; no
  SNI for addresses;
- CVE-2026-54275: a pooled connection and another `server_hostname`; requests CVE-2024-35195:
  `ssl=False` sticks to no connection; sessions of one context are not resumed in another;
- fingerprints that do not fit; nothing is sent before the certificate was accepted;
- redirects: each hop is verified for itself, and by its own name.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import ssl
from typing import Any

import pytest
import trustme
from yarl import URL

import angelia
from peers.evil import CANARY, at, content, invented_names
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def serving(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def digest(leaf: trustme.LeafCert) -> bytes:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    return hashlib.sha256(der).digest()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(response(CANARY))
        await writer.drain()


async def refusal(
    server: RawServer, context: Any, host: str = "a.test", **options: Any
) -> angelia.ClientError:
    """The error that a request ends with; nothing of it was sent."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    async with (
        angelia.ClientSession(connector=invented_names()) as session,
    ):
        with pytest.raises(angelia.ClientError) as caught:
            await session.get(at(server, host), ssl=context, **options)
    assert caught.value.request_sent is False
    assert all(received == b"" for received in server.requests)
    return caught.value


class TestCertificates:
    @pytest.mark.parametrize(
        ("names", "dates", "host"),
        [
            (["b.test"], {}, "a.test"),
            (["a.test.evil.test"], {}, "a.test"),
            (["xa.test"], {}, "a.test"),
            (["*.a.test"], {}, "a.test"),
            (["*.a.test"], {}, "x.y.a.test"),
            (["*.test"], {}, "127.0.0.1"),
            (["127.0.0.2"], {}, "127.0.0.1"),
            (["a.test"], {}, "127.0.0.1"),
            (["127.0.0.1"], {}, "a.test"),
            (["a.test"], {"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "a.test"),
            (["a.test"], {"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, "a.test"),
        ],
        ids=str,
    )
    async def test_refused(
        self,
        names: list[str],
        dates: dict[str, Any],
        host: str,
        ca: trustme.CA,
        client_ssl: ssl.SSLContext,
    ) -> None:
        """RFC 9110 §4.3.4, RFC 6125: a certificate of the host, valid today, or no request."""
        context = serving(ca.issue_cert(*names, **dates))
        async with RawServer(answer, tls=context) as server:
            error = await refusal(server, client_ssl, host)
            assert isinstance(error, angelia.ClientConnectorCertificateError)

    async def test_common_name(self, ca: trustme.CA, client_ssl: ssl.SSLContext) -> None:
        """RFC 9110 §4.3.4: a name in the subject alone is none."""
        context = serving(ca.issue_cert("b.test", common_name="a.test"))
        async with RawServer(answer, tls=context) as server:
            error = await refusal(server, client_ssl)
            assert isinstance(error, angelia.ClientConnectorCertificateError)

    @pytest.mark.parametrize("trust", ["default", "another"])
    async def test_unknown_authority(self, trust: str, client_ssl: ssl.SSLContext) -> None:
        """Who signed for himself, or has an authority of his own, is not trusted."""
        context = serving(trustme.CA().issue_cert("a.test"))
        async with RawServer(answer, tls=context) as server:
            error = await refusal(server, True if trust == "default" else client_ssl)
            assert isinstance(error, angelia.ClientConnectorCertificateError)

    async def test_fingerprint(self, ca: trustme.CA) -> None:
        """A fingerprint is of the server's own certificate, or there is no request."""
        leaf = ca.issue_cert("a.test")
        async with RawServer(answer, tls=serving(leaf)) as server:
            error = await refusal(server, angelia.Fingerprint(bytes(32)))
            assert isinstance(error, angelia.ServerFingerprintMismatch)
            async with (
                angelia.ClientSession(connector=invented_names()) as session,
            ):
                pinned = angelia.Fingerprint(digest(leaf))
                assert await content(session, at(server, "a.test"), ssl=pinned) == CANARY

    @pytest.mark.parametrize("host", ["127.0.0.1", "a.test", "b.a.test", "b\u00fccher.test"])
    async def test_names_sent(self, host: str, ca: trustme.CA, client_ssl: ssl.SSLContext) -> None:
        """RFC 6066 §3: names go into SNI in ASCII, addresses do not; either way it is verified."""
        context = serving(ca.issue_cert("127.0.0.1", "a.test", "*.a.test", "xn--bcher-kva.test"))
        names: list[str | None] = []
        context.sni_callback = lambda _object, name, _context: names.append(name)
        async with (
            RawServer(answer, tls=context) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            assert await content(session, at(server, host), ssl=client_ssl) == CANARY
        expected = None if host == "127.0.0.1" else (URL(f"https://{host}/").raw_host)
        assert names == [expected]


class TestPool:
    @pytest.fixture
    def leaf(self, ca: trustme.CA) -> trustme.LeafCert:
        return ca.issue_cert("a.test", "other.test")

    async def test_no_verification_is_for_one_request(self, leaf: trustme.LeafCert) -> None:
        """A connection made without verification carries no request that asked for it."""
        async with (
            RawServer(answer, tls=serving(leaf)) as server,
            invented_names() as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            assert await content(session, at(server, "a.test"), ssl=False) == CANARY
            assert connector.stats().idle == 1
            for _ in range(2):
                with pytest.raises(angelia.ClientConnectorCertificateError):
                    await session.get(at(server, "a.test"))
            assert len([received for received in server.requests if received]) == 1
            # And the connection is as good as before for who asks for no more.
            assert await content(session, at(server, "a.test"), ssl=False) == CANARY
            assert len([received for received in server.requests if received]) == 1

    async def test_contexts(
        self, leaf: trustme.LeafCert, ca: trustme.CA, client_ssl: ssl.SSLContext
    ) -> None:
        """Each context has its own connections, and resumes none of another's TLS sessions."""
        other = ssl.create_default_context()
        ca.configure_trust(other)
        context = serving(leaf)
        reused = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reused.append(writer.get_extra_info("ssl_object").session_reused)
            await answer(reader, writer)

        async with (
            RawServer(script, tls=context) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            for each in (client_ssl, other, False, angelia.Fingerprint(digest(leaf))):
                assert await content(session, at(server, "a.test"), ssl=each) == CANARY
            assert server.connections == 4
            assert reused == [False] * 4
            assert await content(session, at(server, "a.test"), ssl=client_ssl) == CANARY
            assert server.connections == 4

    async def test_server_hostname(
        self, leaf: trustme.LeafCert, client_ssl: ssl.SSLContext
    ) -> None:
        """A connection is for the name that its certificate was checked against."""
        async with (
            RawServer(answer, tls=serving(leaf)) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            url = at(server, "a.test")
            assert await content(session, url, ssl=client_ssl) == CANARY
            for name in ("b.test", "127.0.0.1"):
                with pytest.raises(angelia.ClientConnectorCertificateError):
                    await session.get(url, ssl=client_ssl, server_hostname=name)
            options: dict[str, Any] = {"ssl": client_ssl, "server_hostname": "other.test"}
            for _ in range(2):
                assert await content(session, url, **options) == CANARY
            # The name replaces that of the URL; it is no further one.
            found = await content(session, at(server, "b.test"), **options)
            assert found == CANARY
            assert len([received for received in server.requests if received]) == 3

    async def test_hosts_at_one_address(
        self, leaf: trustme.LeafCert, client_ssl: ssl.SSLContext
    ) -> None:
        """Two names of one server share no connection, though one certificate has both."""
        async with (
            RawServer(answer, tls=serving(leaf)) as server,
            angelia.ClientSession(connector=invented_names(ssl=client_ssl)) as session,
        ):
            for host in ("a.test", "other.test"):
                assert await content(session, at(server, host)) == CANARY
            assert server.connections == 2


class TestRedirects:
    async def test_next_hop_is_verified(self, ca: trustme.CA, client_ssl: ssl.SSLContext) -> None:
        """A trusted server leads to nobody who is not trusted."""
        async with RawServer(answer, tls=serving(ca.issue_cert("c.test"))) as wrong:
            moved = response(b"", f"Location: {at(wrong, 'b.test')}", status="302 Found")
            async with (
                RawServer([moved], tls=serving(ca.issue_cert("a.test"))) as server,
                angelia.ClientSession(connector=invented_names(ssl=client_ssl)) as session,
            ):
                asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
                with pytest.raises(angelia.ClientConnectorCertificateError):
                    await session.get(at(server, "a.test"))
                assert not any(wrong.requests)

    async def test_given_name_is_of_the_first_host(
        self, ca: trustme.CA, client_ssl: ssl.SSLContext
    ) -> None:
        """`server_hostname` says who the first host is; the next one is who the URL says."""
        async with RawServer(answer, tls=serving(ca.issue_cert("a.test"))) as wrong:
            moved = response(b"", f"Location: {at(wrong, 'b.test')}", status="302 Found")
            async with (
                RawServer([moved], tls=serving(ca.issue_cert("a.test"))) as server,
                angelia.ClientSession(connector=invented_names(ssl=client_ssl)) as session,
            ):
                asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
                with pytest.raises(angelia.ClientConnectorCertificateError):
                    await session.get(at(server, "127.0.0.1"), server_hostname="a.test")
                assert not any(wrong.requests)
