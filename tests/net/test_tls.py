"""TLS settings: contexts, fingerprints, the ssl argument and the certificate's name."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import pickle
import ssl
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.core.auth import BasicAuth
from angelia.errors import InvalidURL, InvalidUrlClientError, ServerFingerprintMismatch
from angelia.net.connection_key import ConnectionKey
from angelia.net.tls import (
    Fingerprint,
    certificate_name,
    check_ssl_argument,
    context_for,
    context_if_built,
    merge_ssl_arguments,
)


class FakeSSLObject:
    def __init__(self, certificate: bytes | None) -> None:
        self.certificate = certificate

    def getpeercert(self, binary_form: bool) -> bytes | None:
        assert binary_form
        return self.certificate


class FakeTransport(asyncio.BaseTransport):
    pass


CERTIFICATE = b"certificate"
DIGEST = hashlib.sha256(CERTIFICATE).digest()


class TestFingerprint:
    def test_accepts_the_certificate_it_names(self) -> None:
        """A certificate with the digest passes."""
        transport = FakeTransport({"ssl_object": FakeSSLObject(CERTIFICATE)})
        Fingerprint(DIGEST).check(transport)

    def test_mismatch_names_both_digests_and_the_peer(self) -> None:
        """Another certificate raises with what was expected, what came, and from where."""
        transport = FakeTransport(
            {"ssl_object": FakeSSLObject(b"other"), "peername": ("::1", 443, 0, 0)}
        )
        with pytest.raises(ServerFingerprintMismatch) as caught:
            Fingerprint(DIGEST).check(transport)
        assert caught.value.expected == DIGEST
        assert caught.value.got == hashlib.sha256(b"other").digest()
        assert (caught.value.host, caught.value.port) == ("::1", 443)

    def test_no_certificate_is_a_mismatch(self) -> None:
        """A TLS peer that shows no certificate does not pass; a Unix socket has no port."""
        transport = FakeTransport({"ssl_object": FakeSSLObject(None), "peername": "/run/x"})
        with pytest.raises(ServerFingerprintMismatch) as caught:
            Fingerprint(DIGEST).check(transport)
        assert (caught.value.host, caught.value.port) == ("/run/x", 0)

    def test_plain_transport_passes(self) -> None:
        """There is nothing to compare without TLS."""
        Fingerprint(DIGEST).check(FakeTransport())

    @pytest.mark.parametrize("size", [16, 20])
    def test_broken_digests_are_refused(self, size: int) -> None:
        """MD5 and SHA-1 digests raise ValueError."""
        with pytest.raises(ValueError, match="md5 and sha1 are insecure"):
            Fingerprint(b"x" * size)

    @pytest.mark.parametrize("size", [0, 31, 33, 64])
    def test_other_sizes_are_refused(self, size: int) -> None:
        """What is no SHA-256 digest raises ValueError."""
        with pytest.raises(ValueError, match="invalid length"):
            Fingerprint(b"x" * size)

    def test_equal_by_digest(self) -> None:
        """Two fingerprints of one digest make one pool key; others do not."""
        assert Fingerprint(DIGEST) == Fingerprint(bytes(DIGEST))
        assert hash(Fingerprint(DIGEST)) == hash(Fingerprint(DIGEST))
        assert Fingerprint(DIGEST) != Fingerprint(b"x" * 32)
        assert Fingerprint(DIGEST) != DIGEST
        assert DIGEST.hex() in repr(Fingerprint(DIGEST))
        assert Fingerprint(DIGEST).fingerprint == DIGEST


class TestSSLArgument:
    @pytest.mark.parametrize("value", [True, False, Fingerprint(DIGEST)])
    def test_documented_types_pass(self, value: object) -> None:
        """Bools, contexts and fingerprints come back as they are."""
        assert check_ssl_argument(value) is value

    def test_context_passes(self) -> None:
        """A context of the user's is used as it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        assert check_ssl_argument(context) is context

    def test_none_means_true_with_a_warning_at_the_callers_line(self) -> None:
        """None is a deprecated True."""
        with pytest.warns(DeprecationWarning, match="ssl=True") as caught:
            assert check_ssl_argument(None) is True
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("value", [0, 1, "yes", DIGEST, object()])
    def test_other_types_are_refused(self, value: object) -> None:
        """Anything else raises TypeError."""
        with pytest.raises(TypeError, match="SSLContext, Fingerprint, or bool"):
            check_ssl_argument(value)


class TestMergeSSLArguments:
    def test_nothing_deprecated(self) -> None:
        """Without deprecated forms the current argument stands and nothing warns."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert merge_ssl_arguments(False, None, None, None) is False
            assert merge_ssl_arguments(True, True, None, None) is True

    def test_each_deprecated_form(self) -> None:
        """Each form warns and becomes its present equivalent."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.warns(DeprecationWarning, match="verify_ssl") as caught:
            assert merge_ssl_arguments(True, False, None, None) is False
        assert caught[0].filename == __file__
        with pytest.warns(DeprecationWarning, match="ssl_context"):
            assert merge_ssl_arguments(None, None, context, None) is context
        with pytest.warns(DeprecationWarning, match="fingerprint"):
            assert merge_ssl_arguments(True, None, None, DIGEST) == Fingerprint(DIGEST)

    @pytest.mark.parametrize(
        "arguments",
        [
            (False, False, None, None),
            (True, False, None, DIGEST),
            (Fingerprint(DIGEST), None, None, DIGEST),
            (False, None, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None),
        ],
    )
    def test_two_forms_exclude_each_other(self, arguments: tuple[object, ...]) -> None:
        """More than one setting raises ValueError."""
        with (
            pytest.warns(DeprecationWarning, match="is deprecated"),
            pytest.raises(ValueError, match="mutually exclusive"),
        ):
            merge_ssl_arguments(*arguments)  # type: ignore[arg-type]  # a table of mixed types

    def test_wrong_types_are_refused(self) -> None:
        """A deprecated form with a wrong type raises TypeError."""
        with pytest.raises(TypeError):
            merge_ssl_arguments(True, None, "context", None)  # type: ignore[arg-type]  # the point


class TestContexts:
    def test_built_once_and_shared_by_threads(self) -> None:
        """Loops in several threads get the same default context."""
        found: list[ssl.SSLContext] = []

        def run() -> None:
            found.append(asyncio.run(context_for(True)))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(map(id, found))) == 1
        assert context_if_built(True) is found[0]
        assert context_if_built(None) is found[0]

    def test_default_verifies(self) -> None:
        """The default context checks certificates and names."""
        context = asyncio.run(context_for(True))
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname

    @pytest.mark.parametrize("value", [False, Fingerprint(DIGEST)])
    def test_unverified(self, value: bool | Fingerprint) -> None:
        """False and fingerprints use the context without authorities."""
        context = asyncio.run(context_for(value))
        assert context.verify_mode is ssl.CERT_NONE
        assert not context.check_hostname
        assert context is asyncio.run(context_for(False))

    def test_the_users_context_is_untouched(self) -> None:
        """A context that was given is the one that is used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        assert asyncio.run(context_for(context)) is context

    def test_built_off_the_loop(self) -> None:
        """The first use reads the trust store in another thread, later ones do not wait at all."""
        script = """
            import asyncio, ssl, threading
            from angelia.net.tls import context_for, context_if_built
            built_in = []
            real = ssl.create_default_context
            def spy(*args, **kwargs):
                built_in.append(threading.current_thread())
                return real(*args, **kwargs)
            ssl.create_default_context = spy
            async def main():
                assert context_if_built(True) is None
                contexts = await asyncio.gather(*(context_for(True) for _ in range(5)))
                assert len(set(contexts)) == 1
                assert context_if_built(True) is contexts[0]
            asyncio.run(main())
            assert len(built_in) == 1
            assert built_in[0] is not threading.main_thread()
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)

    def test_without_the_ssl_module(self) -> None:
        """The module imports; only asking for a context raises RuntimeError."""
        script = """
            import builtins, sys
            import angelia.errors
            real = builtins.__import__
            def importer(name, *args, **kwargs):
                if name == "ssl":
                    raise ImportError(name)
                return real(name, *args, **kwargs)
            sys.modules.pop("angelia.net.tls", None)
            builtins.__import__ = importer
            from angelia.net.tls import check_ssl_argument, context_if_built
            assert check_ssl_argument(True) is True
            try:
                context_if_built(True)
            except RuntimeError as error:
                assert "without the ssl module" in str(error)
            else:
                raise SystemExit("no RuntimeError")
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


class TestCertificateName:
    @pytest.mark.parametrize(
        ("host", "override", "name"),
        [
            ("example.org", None, "example.org"),
            ("example.org.", None, "example.org"),
            ("example.org", "other.test.", "other.test"),
            ("127.0.0.1", None, "127.0.0.1"),
            ("::1", None, "::1"),
            ("fe80::1%eth0", None, "fe80::1"),
            ("under_score.test", None, "under_score.test"),
            ("x" * 63 + ".test", None, "x" * 63 + ".test"),
            ("127.0.0.1", "b\u00fccher.example", "xn--bcher-kva.example"),
        ],
    )
    def test_names(self, host: str, override: str | None, name: str) -> None:
        """The override wins; the final dot and the zone are no part of the name."""
        assert certificate_name(host, override) == name

    @pytest.mark.parametrize(
        ("host", "override"),
        [
            ("a..b", None),
            (".example.org", None),
            ("x" * 64 + ".test", None),
            ("x." * 150, None),
            ("example.org", ""),
            ("example.org", "."),
            ("example.org", "a\x00b"),
            ("example.org", "a b"),
            ("example.org", "\u00fc" * 64),
            ("example.org", "\u3002"),
            ("example.org", "a:b"),
            ("::1\x00", None),
        ],
    )
    def test_impossible_names(self, host: str, override: str | None) -> None:
        """What no certificate can hold is refused before the handshake."""
        with pytest.raises(InvalidUrlClientError):
            certificate_name(host, override)

    @given(st.text(max_size=300))
    def test_any_text_gives_a_name_or_an_error(self, text: str) -> None:
        """The result always encodes as the ssl module wants it."""
        try:
            name = certificate_name(text)
        except InvalidURL:
            return
        assert name.encode("idna").decode("ascii") == name


class TestConnectionKey:
    def test_every_field_separates(self) -> None:
        """Keys that differ in any one field are different pool entries."""
        key = ConnectionKey("example.org", 443, True)
        others = [
            key._replace(host="example.com"),
            key._replace(port=80),
            key._replace(is_ssl=False),
            key._replace(ssl=False),
            key._replace(ssl=Fingerprint(DIGEST)),
            key._replace(server_hostname="other.test"),
            key._replace(proxy_headers=(("X-A", "1"),)),
            key._replace(proxy=URL("http://proxy.test")),
            key._replace(proxy=URL("http://proxy.test"), proxy_auth=BasicAuth("a", "b")),
            key._replace(tunnel=True),
        ]
        assert len({key, *others}) == len(others) + 1
        assert key == ConnectionKey("example.org", 443, True)

    def test_copies(self) -> None:
        """A key travels: a copy is the key itself; a pickle says of a context which it was."""
        for ssl_argument in (True, False, Fingerprint(DIGEST)):
            key = ConnectionKey("example.org", 443, True, ssl_argument)
            assert copy.copy(key) is key
            assert copy.deepcopy([key])[0] is key
            assert pickle.loads(pickle.dumps(key)) == key  # noqa: S301 - our own pickle
        key = ConnectionKey("example.org", 443, True, ssl.create_default_context())
        assert copy.deepcopy(key) is key
        back = pickle.loads(pickle.dumps(key))  # noqa: S301 - our own pickle
        assert back.host == "example.org"
        assert "SSLContext" in back.ssl

    def test_repr(self) -> None:
        """Neither the proxy's credentials nor the fields that carry them are shown."""
        key = ConnectionKey(
            "example.org",
            443,
            True,
            proxy=URL("http://user:pa55@proxy.test"),
            proxy_auth=BasicAuth("user", "pa55"),
            proxy_headers=(("Proxy-Authorization", "Basic dXNlcjpwYTU1"), ("X-A", "1")),
        )
        assert "proxy.test" in repr(key)
        assert "X-A" in repr(key)
        for secret in ("pa55", "dXNlcjpwYTU1"):
            assert secret not in repr(key)
