"""Tests of angelia.hosting.loading."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from angelia.hosting.loading import Interface, LoadingError, detect_interface, load_application

MODULE = """
class Outer:
    inner = "found"

def make():
    return ["made"]

async def make_later():
    pass

def fail():
    return 1 / 0

number = 3
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "shop.py").write_text(MODULE)
    return tmp_path


@pytest.mark.usefixtures("modules")
class TestLoad:
    """`load_application`."""

    def test_names(self) -> None:
        """The name behind the colon may have dots; with parentheses it is called."""
        assert load_application("shop:number") == 3
        assert load_application("shop:Outer.inner") == "found"
        assert load_application("shop:make()") == ["made"]

    @pytest.mark.parametrize(
        "text",
        [
            *("", "shop", "shop:", ":make", "shop:make(1)", "shop:make()()", "shop:a b"),
            *("shop/x:y", "shop:1a", "shop::make", "shop:.make", "..shop:make", "shop:make\n"),
        ],
    )
    def test_form(self, text: str) -> None:
        """Any other text is refused, and nothing is imported."""
        with pytest.raises(LoadingError, match="not of the form"):
            load_application(text)
        assert "shop" not in sys.modules

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("nowhere:app", "there is no module 'nowhere'"),
            ("nowhere.inner:app", "there is no module 'nowhere'"),
            ("shop.inner:app", "there is no module 'shop.inner'"),
            ("shop:app", "'shop' has no 'app'"),
            ("shop:Outer.app", "'shop.Outer' has no 'app'"),
            ("shop:number()", "to be called"),
            ("shop:make_later()", "coroutine function"),
        ],
    )
    def test_missing(self, text: str, message: str) -> None:
        """What is not there is named, without a traceback: the command line is wrong."""
        with pytest.raises(LoadingError, match=message) as caught:
            load_application(text)
        assert caught.value.inner == ""

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("import nowhere_else", "ModuleNotFoundError: No module named 'nowhere_else'"),
            ("1 / 0", "ZeroDivisionError"),
            ("def (", "SyntaxError"),
        ],
    )
    def test_module_fails(self, source: str, what: str, modules: Path) -> None:
        """An error in the module comes with its traceback, from the module's own line on."""
        (modules / "broken.py").write_text(source)
        with pytest.raises(LoadingError, match="importing 'broken' failed") as caught:
            load_application("broken:app")
        assert what in str(caught.value)
        assert "broken.py" in caught.value.inner
        assert "loading.py" not in caught.value.inner
        assert "importlib" not in caught.value.inner

    def test_factory_fails(self) -> None:
        """So does an error in a factory."""
        with pytest.raises(LoadingError, match=r"calling 'shop:fail\(\)' failed") as caught:
            load_application("shop:fail()")
        assert "return 1 / 0" in caught.value.inner


async def handler(request: Any) -> Any: ...


async def handler_with_default(request: Any, verbose: bool = False) -> Any: ...


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


def asgi_double(scope: Any, receive: Any, send: Any) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


class Handler:
    async def __call__(self, request: Any) -> Any: ...

    async def answer(self, request: Any) -> Any: ...


class ASGI:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WSGI:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


class TestDetect:
    """`detect_interface`."""

    @pytest.mark.parametrize(
        ("application", "interface"),
        [
            (handler, Interface.HANDLER),
            (handler_with_default, Interface.HANDLER),
            (Handler(), Interface.HANDLER),
            (Handler().answer, Interface.HANDLER),
            (functools.partial(handler_with_default, verbose=True), Interface.HANDLER),
            (lambda request: None, Interface.HANDLER),
            (wrapped(handler), Interface.HANDLER),
            (asgi, Interface.ASGI),
            (asgi_double, Interface.ASGI),
            (ASGI(), Interface.ASGI),
            (wrapped(asgi), Interface.ASGI),
            (wsgi, Interface.WSGI),
            (WSGI(), Interface.WSGI),
            (wrapped(wsgi), Interface.WSGI),
        ],
    )
    def test_kinds(self, application: Any, interface: Interface) -> None:
        """One parameter is a handler's, two are WSGI's, three ASGI's; those with defaults less."""
        assert detect_interface(application) is interface

    def test_frameworks(self) -> None:
        """The applications of frameworks, and ours, are what they are."""
        flask = pytest.importorskip("flask")
        starlette = pytest.importorskip("starlette.applications")
        from angelia.server.files import Directory

        assert detect_interface(flask.Flask("shop")) is Interface.WSGI
        assert detect_interface(starlette.Starlette()) is Interface.ASGI
        assert detect_interface(Directory(".")) is Interface.HANDLER

    @pytest.mark.parametrize(
        "application",
        [lambda *args: None, lambda: None, lambda a, b, c, d: None, lambda a=1, b=2: None],
    )
    def test_unclear(self, application: Any) -> None:
        """Parameters that fit several kinds, or none, do not tell."""
        with pytest.raises(LoadingError, match="cannot tell"):
            detect_interface(application)

    def test_asynchronous_pairs(self) -> None:
        """No kind is a coroutine function of two."""

        async def two(a: Any, b: Any) -> None: ...

        with pytest.raises(LoadingError, match="cannot tell"):
            detect_interface(two)

    def test_no_application(self) -> None:
        """A class is none, and neither is what cannot be called."""
        with pytest.raises(LoadingError, match="is a class"):
            detect_interface(Handler)
        with pytest.raises(LoadingError, match="'int' cannot be called"):
            detect_interface(3)
        with pytest.raises(LoadingError, match="not known"):
            detect_interface(max)
