"""Handshakes on their own: what cannot have one, what is measured, what errors become."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    InvalidURL,
    ServerFingerprintMismatch,
)
from angelia.net.connection_key import ConnectionKey
from angelia.net.handshakes import (
    TimeLimit,
    check_fingerprint,
    connector_errors,
    measured,
    start_tls,
)
from angelia.net.timings import DialTimings
from angelia.net.tls import Fingerprint
from connector_kit import Clock
from dial_kit import Certificates, Client, Run, dialling, greeter
from turns import turns

KEY = ConnectionKey("target.test", 443, True)


class Memory(asyncio.Transport):
    """A transport that no event loop knows."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class TestStartTLS:
    def test_lost_before(self, run: Run[None], certificates: Certificates) -> None:
        """A transport that is closing already is an error at once: it would never answer."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with greeter() as port:
                transport, protocol = await loop.create_connection(Client, "127.0.0.1", port)
                transport.close()
                with pytest.raises(ConnectionResetError, match="before the TLS handshake"):
                    await start_tls(transport, certificates.client, "localhost")
                await protocol.lost

        run(main())

    def test_impossible(self, run: Run[None], certificates: Certificates) -> None:
        """A transport that the loop knows no TLS over is named, with the loop, and aborted."""

        async def main() -> None:
            transport = Memory()
            with pytest.raises(ClientConnectionError, match="cannot start TLS over Memory") as e:
                await start_tls(transport, certificates.client, "localhost")
            assert type(asyncio.get_running_loop()).__name__ in str(e.value)
            assert isinstance(e.value.__cause__, TypeError)
            assert transport.aborted

        run(main())

    async def test_reason_of_a_stumble(self, certificates: Certificates) -> None:
        """Where the loop fails over the failure of a handshake, the handshake's is the error."""
        loop = asyncio.get_running_loop()
        reason = ssl.SSLCertVerificationError("certificate verify failed")

        async def stumble(*_: Any, **__: Any) -> None:
            try:
                raise reason
            except ssl.SSLError:
                raise TypeError("_abort() missing an argument")  # noqa: B904 - as it happens

        vars(loop)["start_tls"] = stumble
        transport = Memory()
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await start_tls(transport, certificates.client, "localhost")
        assert caught.value is reason
        assert transport.aborted


# The clock is put forward by an hour, which the guard of the tests must not take for its own.
@pytest.mark.deadline(2 * 3600)
class TestNoLimit:
    @pytest.mark.parametrize("seconds", [None, 0, 30])
    async def test_handshake(self, certificates: Certificates, seconds: float | None) -> None:
        """None and 0 set no limit to a handshake, the loop's own of a minute included."""

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hello.set()
            await reader.read()

        hello = asyncio.Event()
        async with greeter(handle=silent) as port, dialling() as dialer:
            clock = Clock()
            key = ConnectionKey("127.0.0.1", port, True, certificates.client)
            task = asyncio.ensure_future(dialer.dial(key, Client, sock_connect=seconds))
            await hello.wait()
            await turns(20)
            await clock.forward(3600)
            if seconds:
                with pytest.raises(ConnectionTimeoutError):
                    await task
                return
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "public"),
        [
            (OSError(111, "refused"), ClientConnectorError),
            (ConnectionResetError("reset"), ClientConnectorError),
            (ssl.SSLError(1, "wrong version"), ClientConnectorSSLError),
            (ssl.SSLCertVerificationError("expired"), ClientConnectorCertificateError),
            (ssl.CertificateError("other name"), ClientConnectorCertificateError),
        ],
    )
    def test_translated(self, error: Exception, public: type[ClientConnectorError]) -> None:
        """System and TLS errors become their public kinds, with the key and the cause."""
        with pytest.raises(ClientConnectionError) as caught, connector_errors(KEY):
            raise error
        assert type(caught.value) is public
        assert caught.value.__cause__ is error
        assert "target.test" in str(caught.value)

    def test_given_class(self) -> None:
        """The class for what is no TLS matter is the caller's."""
        with (
            pytest.raises(ClientProxyConnectionError),
            connector_errors(KEY, ClientProxyConnectionError),
        ):
            raise OSError("no")

    @pytest.mark.parametrize(
        "error", [InvalidURL("x"), ConnectionTimeoutError("late"), LookupError("ours")]
    )
    def test_left_alone(self, error: Exception) -> None:
        """Public errors pass, timeouts too, though they are OSErrors; so do those of others."""
        with pytest.raises(type(error)) as caught, connector_errors(KEY):
            raise error
        assert caught.value is error


class TestTimeLimit:
    def test_expired(self, run: Run[None]) -> None:
        """The error names the host and the limit, and is a TimeoutError by its cause."""

        async def main() -> None:
            with pytest.raises(ConnectionTimeoutError, match=r"target\.test:443 after 0\.01") as e:
                async with TimeLimit(KEY, 0.01):
                    await asyncio.Event().wait()
            assert isinstance(e.value, TimeoutError)

        run(main())

    @pytest.mark.parametrize("seconds", [None, 0])
    def test_none(self, run: Run[None], seconds: float | None) -> None:
        """None and 0 set no limit."""

        async def main() -> None:
            async with TimeLimit(KEY, seconds):
                await asyncio.sleep(0)

        run(main())

    def test_cancelled(self, run: Run[None]) -> None:
        """A cancellation from outside is not a timeout."""

        async def main() -> None:
            async def wait() -> None:
                async with TimeLimit(KEY, 30):
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())


class TestMeasured:
    def test_sum(self) -> None:
        """Blocks of the same phase add up, failed ones too; without timings nothing is done."""
        timings = DialTimings()
        with measured(timings, "tls"):
            pass
        first = timings.tls or 0.0
        assert first > 0
        with pytest.raises(LookupError), measured(timings, "tls"):
            raise LookupError
        assert (timings.tls or 0.0) > first
        assert timings.connect is None
        with measured(None, "tls"):
            pass


def test_fingerprint_in_a_tunnel() -> None:
    """A mismatch names the target, whoever the transport is connected to."""

    class Certificate:
        def getpeercert(self, binary_form: bool) -> bytes:
            return b"certificate"

    transport = asyncio.Transport({"ssl_object": Certificate(), "peername": ("192.0.2.1", 3128)})
    with pytest.raises(ServerFingerprintMismatch) as caught:
        check_fingerprint(KEY._replace(ssl=Fingerprint(bytes(32))), transport)
    assert (caught.value.host, caught.value.port) == ("target.test", 443)
    check_fingerprint(KEY, transport)
