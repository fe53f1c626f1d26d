"""Basic credentials, challenges and digests."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.core.auth import (
    BasicAuth,
    Challenge,
    DigestChallenge,
    digest_authorization,
    digest_challenge,
    digest_key,
    digest_response,
    encode_basic_auth,
    parse_auth_parameters,
    parse_challenges,
)
from counting import calls_of, is_linear

LATIN = st.text(st.characters(max_codepoint=255))


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class TestBasic:
    def test_encode(self) -> None:
        """RFC 7617 §2: the scheme's name, and user-id:password in base64."""
        assert BasicAuth("Aladdin", "open sesame").encode() == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="

    def test_defaults(self) -> None:
        """A login alone has an empty password and goes out as Latin-1."""
        auth = BasicAuth("user")
        assert tuple(auth) == ("user", "", "latin1")
        assert auth == BasicAuth(login="user", password="", encoding="latin1")

    def test_charsets(self) -> None:
        """BasicAuth is Latin-1 unless told otherwise, encode_basic_auth UTF-8."""
        assert BasicAuth("ä").encode() == "Basic 5Do="
        assert BasicAuth("ä", encoding="utf-8").encode() == encode_basic_auth("ä")
        assert encode_basic_auth("ä") == "Basic w6Q6"
        assert encode_basic_auth("ä", encoding="latin1") == BasicAuth("ä").encode()
        with pytest.raises(ValueError):
            BasicAuth("€").encode()

    @pytest.mark.parametrize("make", [BasicAuth, encode_basic_auth])
    def test_refuses(self, make: type[BasicAuth]) -> None:
        """A colon in the login, and None for either, raise ValueError."""
        for login, password in [("a:b", ""), (None, ""), ("a", None)]:
            with pytest.raises(ValueError):
                make(login, password)  # type: ignore[arg-type]  # the misuse that is refused

    @given(LATIN.filter(lambda text: ":" not in text), LATIN)
    def test_decode_is_the_inverse(self, login: str, password: str) -> None:
        """What is encoded decodes to the same, colons in the password included."""
        auth = BasicAuth(login, password)
        assert BasicAuth.decode(auth.encode()) == auth

    def test_decode_overlooks_case(self) -> None:
        """RFC 9110 §11.1: the scheme's case does not matter."""
        assert BasicAuth.decode("bAsIc dTpw") == BasicAuth("u", "p")
        assert BasicAuth.decode("Basic w6Q6", encoding="utf-8").login == "ä"

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Basic",
            "dTpw",
            "Bearer dTpw",
            "Basic %%%",
            "Basic dTp",
            "Basic d Tpw",
            "Basic dTpwé",
            "Basic dQ==",
        ],
    )
    def test_decode_refuses(self, header: str) -> None:
        """No scheme, another scheme, bad base64 and no colon raise ValueError."""
        with pytest.raises(ValueError):
            BasicAuth.decode(header)

    def test_decode_keeps_secrets(self) -> None:
        """An error about the charset does not carry the octets."""
        with pytest.raises(ValueError, match="not ascii") as info:
            BasicAuth.decode("Basic w6Q6", encoding="ascii")
        assert not isinstance(info.value, UnicodeError)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://h/", None),
            ("http://u@h/", BasicAuth("u")),
            ("http://u:p@h/", BasicAuth("u", "p")),
            ("http://:p@h/", BasicAuth("", "p")),
            ("http://u%40x:p%2F@h/", BasicAuth("u@x", "p/")),
        ],
    )
    def test_from_url(self, url: str, expected: BasicAuth | None) -> None:
        """The URL's credentials, percent-decoded; an empty user with a password works."""
        assert BasicAuth.from_url(URL(url)) == expected

    def test_from_url_type(self) -> None:
        """What is no URL raises TypeError."""
        with pytest.raises(TypeError):
            BasicAuth.from_url("http://u:p@h/")  # type: ignore[arg-type]  # the misuse

    def test_repr_has_no_password(self) -> None:
        """Neither repr nor str shows the password."""
        auth = BasicAuth("user", "hunter2")
        assert "hunter2" not in f"{auth!r} {auth}"
        assert repr(auth) == "BasicAuth(login='user', password='***', encoding='latin1')"

    def test_is_a_value(self) -> None:
        """Credentials hash, copy and pickle."""
        auth = BasicAuth("u", "p", "utf-8")
        pickled = pickle.loads(pickle.dumps(auth))  # noqa: S301 (our own)
        for other in (copy.copy(auth), pickled):
            assert other == auth
            assert type(other) is BasicAuth
            assert hash(other) == hash(auth)


class TestChallenges:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([], []),
            ([""], []),
            ([" , ,"], []),
            (["Basic"], [("basic", {}, "")]),
            (['Basic realm="x"'], [("basic", {"realm": "x"}, "")]),
            (['BASIC Realm = "x" , Charset=UTF-8'],
             [("basic", {"realm": "x", "charset": "UTF-8"}, "")]),
            # RFC 9110 §11.6.1's own example.
            (['Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'],
             [("basic", {"realm": "simple"}, ""),
              ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, "")]),
            (["Negotiate, Basic realm=x"], [("negotiate", {}, ""), ("basic", {"realm": "x"}, "")]),
            (["Negotiate abc==, Digest realm=a", "NTLM"],
             [("negotiate", {}, "abc=="), ("digest", {"realm": "a"}, ""), ("ntlm", {}, "")]),
            (['Digest realm=, nonce="", qop=auth'],
             [("digest", {"realm": "", "nonce": "", "qop": "auth"}, "")]),
            (['Digest domain="", realm="a\\\\b"'],
             [("digest", {"domain": "", "realm": "a\\b"}, "")]),
            (["Digest nonce=abc==, opaque=x/y+z="],
             [("digest", {"nonce": "abc==", "opaque": "x/y+z="}, "")]),
            (['Digest realm="a,b=c", nonce="Basic realm=x"'],
             [("digest", {"realm": "a,b=c", "nonce": "Basic realm=x"}, "")]),
            (['Digest realm="one", realm="two"'], [("digest", {"realm": "one"}, "")]),
            (['Digest realm="never closed, nonce="'],
             [("digest", {"realm": "never closed, nonce="}, "")]),
            (['@@, Basic realm=x, "y", z=1'], [("basic", {"realm": "x", "z": "1"}, "")]),
            (["Digest realm=a,,nonce=b,"], [("digest", {"realm": "a", "nonce": "b"}, "")]),
        ],
    )  # fmt: skip
    def test_parse(
        self, values: list[str], expected: list[tuple[str, dict[str, str], str]]
    ) -> None:
        """RFC 9110 §11.6.1: several challenges in one field or several, each with parameters."""
        assert parse_challenges(values) == [Challenge(*one) for one in expected]

    def test_information(self) -> None:
        """RFC 7615 §3: Authentication-Info is parameters alone."""
        assert parse_auth_parameters('nextnonce="a,b", qop=auth,nc=00000001') == {
            "nextnonce": "a,b",
            "qop": "auth",
            "nc": "00000001",
        }
        assert parse_auth_parameters("") == {}

    @given(st.text(st.sampled_from('Digest realm="\\, =/ab\t\x80')))
    def test_any_text(self, text: str) -> None:
        """Any text gives challenges and never an error."""
        parse_challenges([text])

    @pytest.mark.parametrize(
        "text",
        ['a="\\' * 20000, "a " * 40000, "a=" * 40000, ", " * 40000, "a" * 80000, "= " * 40000,
         'Digest a="' + "b" * 80000, "x " + " " * 80000 + "@", '"' * 80000],
    )  # fmt: skip
    def test_linear(self, text: str) -> None:
        """Long fields take linear work; all of one that is worse inside a match would not end."""

        def cost(size: int) -> int:
            return calls_of(lambda: parse_challenges([text[:size]]))

        assert is_linear(cost, 1000)
        parse_challenges([text])


MUFASA_FIELDS = (
    'realm="http-auth@example.org", qop="auth, auth-int", '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def challenge_of(parameters: str) -> DigestChallenge:
    found = digest_challenge(parse_challenges([f"Digest {parameters}"]))
    assert found is not None
    return found


def answer(
    challenge: DigestChallenge,
    login: str = "user",
    password: str = "secret",  # noqa: S107 (not a secret)
    target: str = "/",
    cnonce: str = "c",
    content: bytes = b"",
    count: int = 1,
) -> dict[str, str]:
    value = digest_authorization(
        challenge,
        login=login,
        key=digest_key(challenge, login, password, cnonce),
        method="GET",
        target=target,
        count=count,
        cnonce=cnonce,
        content=content,
    )
    assert value.startswith("Digest ")
    (parsed,) = parse_challenges([value])
    return parsed.parameters


class TestDigest:
    @pytest.mark.parametrize(
        ("algorithm", "expected"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_rfc7616_3_9_1(self, algorithm: str, expected: str) -> None:
        """RFC 7616 §3.9.1: Mufasa gets in, by either algorithm."""
        parameters = answer(
            challenge_of(f"{MUFASA_FIELDS}, algorithm={algorithm}"),
            "Mufasa",
            "Circle of Life",
            "/dir/index.html",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        assert parameters == {
            "username": "Mufasa",
            "realm": "http-auth@example.org",
            "uri": "/dir/index.html",
            "algorithm": algorithm,
            "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "nc": "00000001",
            "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "qop": "auth",
            "response": expected,
            "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        }

    @pytest.mark.skipif(
        "sha512_256" not in hashlib.algorithms_available, reason="OpenSSL lacks SHA-512/256"
    )
    def test_rfc7616_3_9_2(self) -> None:
        """RFC 7616 §3.9.2 as erratum 4897 has it: SHA-512-256, a charset and a hashed user name."""
        parameters = answer(
            challenge_of(
                'realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
                'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
                'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", '
                "charset=UTF-8, userhash=true"
            ),
            "J\u00e4s\u00f8n Doe",
            "Secret, or not?",
            "/doe.json",
            "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        )
        assert parameters["userhash"] == "true"
        assert parameters["username"] == (
            "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        )
        assert parameters["response"] == (
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        )

    def test_rfc2617_3_5(self) -> None:
        """RFC 2617 §3.5: the example that every server of old speaks."""
        challenge = challenge_of(
            'realm="testrealm@host.com", qop="auth,auth-int", '
            'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        )
        parameters = answer(challenge, "Mufasa", "Circle Of Life", "/dir/index.html", "0a4f113b")
        assert parameters["response"] == "6629fae49393a05397450978507c4ef1"
        assert "algorithm" not in parameters

    def test_rfc2069(self) -> None:
        """RFC 2069 §2.4 with its erratum: without qop there is neither count nor client nonce."""
        challenge = challenge_of(
            'realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
            'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        )
        parameters = answer(challenge, "Mufasa", "CircleOfLife", "/dir/index.html")
        assert parameters["response"] == "1949323746fe6a43ef61f9606e7febea"
        assert not {"qop", "nc", "cnonce"} & parameters.keys()

    def test_session_key(self) -> None:
        """RFC 7616 §3.4.2: a -sess key is made of nonce and client nonce too."""
        challenge = challenge_of('realm="r", nonce="n", qop=auth, algorithm=mD5-sEsS')
        plain = md5(b"u:r:p")
        expected = md5(f"{plain}:n:c".encode())
        assert digest_key(challenge, "u", "p", "c") == expected
        assert answer(challenge)["algorithm"] == "mD5-sEsS"

    def test_integrity(self) -> None:
        """RFC 7616 §3.4.3: auth-int covers the content."""
        challenge = challenge_of('realm="r", nonce="n", qop=auth-int')
        assert challenge.qop == "auth-int"
        key = digest_key(challenge, "u", "p", "c")
        body = md5(b"body")
        covered = md5(f"PUT:/x:{body}".encode())
        expected = md5(f"{key}:n:0000000a:c:auth-int:{covered}".encode())
        assert expected == digest_response(
            challenge, key=key, method="PUT", target="/x", count=10, cnonce="c", content=b"body"
        )

    @pytest.mark.parametrize(
        ("parameters", "qop"),
        [
            ("", None),
            (', qop=""', None),
            (", qop=auth", "auth"),
            (', qop="auth-int,auth"', "auth"),
            (', qop="AUTH-INT, later"', "auth-int"),
        ],
    )
    def test_chosen_protection(self, parameters: str, qop: str | None) -> None:
        """auth is preferred, for it needs no copy of the body; an empty list is no list."""
        assert challenge_of(f'realm="r", nonce="n"{parameters}').qop == qop

    @pytest.mark.parametrize(
        "parameters",
        [
            'nonce="n"',
            'realm="r"',
            'realm="r", nonce=""',
            'realm="r", nonce="n", algorithm=MD4',
            'realm="r", nonce="n", algorithm="\u017fHA"',
            'realm="r", nonce="n", qop=later',
        ],
    )
    def test_unanswerable(self, parameters: str) -> None:
        """Without realm or nonce, with unknown algorithm or protection, there is no answer."""
        assert digest_challenge(parse_challenges([f"Digest {parameters}"])) is None

    def test_first_answerable(self) -> None:
        """RFC 7616 §3.7: of several challenges the first that can be answered is."""
        found = digest_challenge(
            parse_challenges(
                [
                    'Basic realm="b", Digest realm="r", nonce="1", algorithm=FOO',
                    'Digest realm="r", nonce="2", algorithm=SHA-256, Digest realm="r", nonce="3"',
                ]
            )
        )
        assert found is not None
        assert (found.nonce, found.algorithm) == ("2", "SHA-256")

    def test_quotes_and_backslashes(self) -> None:
        """They are hashed as they are, and escaped on the wire."""
        challenge = challenge_of('realm="a\\"b\\\\c", nonce="n\\"", opaque="o\\\\"')
        assert challenge.realm == 'a"b\\c'
        value = digest_authorization(
            challenge,
            login='u"\\',
            key=digest_key(challenge, 'u"\\', "p", ""),
            method="GET",
            target="/",
            count=1,
            cnonce="c",
        )
        assert 'username="u\\"\\\\"' in value
        assert 'realm="a\\"b\\\\c"' in value
        assert 'nonce="n\\""' in value
        assert 'opaque="o\\\\"' in value
        expected = md5(b'u"\\:a"b\\c:p')
        assert digest_key(challenge, 'u"\\', "p", "") == expected

    def test_user_names(self) -> None:
        """username* only for servers that speak of charsets; normalized to NFC for them."""
        plain = challenge_of('realm="r", nonce="n"')
        modern = challenge_of('realm="r", nonce="n", charset=UTF-8')
        assert answer(plain, "jürgen")["username"] == "jürgen"
        assert answer(modern, "jurgen")["username"] == "jurgen"
        assert answer(modern, "ju\u0308rgen")["username*"] == "UTF-8''j%C3%BCrgen"
        assert digest_key(modern, "ju\u0308", "p", "") == digest_key(modern, "jü", "p", "")
        assert digest_key(plain, "ju\u0308", "p", "") != digest_key(plain, "jü", "p", "")

    def test_received_octets(self) -> None:
        """A realm that is no UTF-8 is hashed as the octets that were received."""
        challenge = challenge_of('realm="\udce4", nonce="n"')
        assert digest_key(challenge, "u", "p", "") == md5(b"u:\xe4:p")

    def test_unknown_algorithm(self) -> None:
        """To compute what this Python cannot raises ValueError."""
        with pytest.raises(ValueError, match="MD4"):
            digest_key(DigestChallenge("r", "n", "MD4"), "u", "p", "c")
