"""Import strings and interfaces: from ``module:name`` to an application, and what kind it is.

Owns: how the text is read, what goes wrong on the way, how a kind is told by a callable's
parameters. Runs no application.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import traceback
from collections.abc import Callable
from typing import Any, Final

__all__ = ("Interface", "LoadingError", "detect_interface", "load_application")

_NAME: Final = r"[^\W\d]\w*"
_DOTTED: Final = rf"{_NAME}(?:\.{_NAME})*"
_IMPORT_STRING: Final = re.compile(rf"(?P<module>{_DOTTED}):(?P<name>{_DOTTED})(?P<call>\(\))?")


class Interface(enum.Enum):
    """How an application is called; each value is the name that users know."""

    HANDLER = "handler"  # async: (request) -> response
    WSGI = "wsgi"  # (environ, start_response) -> iterable; PEP 3333
    ASGI = "asgi"  # async: (scope, receive, send); ASGI 3


# What tells the kinds apart: the number of arguments.
_PARAMETERS: Final = {Interface.HANDLER: 1, Interface.WSGI: 2, Interface.ASGI: 3}


class LoadingError(Exception):
    """There is no application where one was said to be.

    `inner`: the traceback, as text, of what failed in the application's own code; "" where the
    name alone is wrong.
    """

    def __init__(self, message: str, inner: str = "") -> None:
        super().__init__(message)
        self.inner = inner


def load_application(text: str) -> Any:
    """The application that ``module:name`` names, or the result of calling ``module:name()``.

    `name` may have dots. Raises `LoadingError` for a text of another form, a module that is not
    there or fails, a name it does not have, a call that fails; what is no `Exception` passes.
    """
    found = _IMPORT_STRING.fullmatch(text)
    if found is None:
        raise LoadingError(f"{text!r} is not of the form module:name or module:factory()")
    application: Any = _import(found["module"])
    reached = found["module"]
    for name in found["name"].split("."):
        try:
            application = getattr(application, name)
        except AttributeError as error:
            raise LoadingError(f"{reached!r} has no {name!r}") from error
        reached = f"{reached}.{name}"
    return application if found["call"] is None else _call(application, text)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself, or a package that it is in; what it imports in turn is another matter.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise LoadingError(f"there is no module {error.name!r}") from error
        raise _failure(f"importing {name!r} failed", error) from error
    except Exception as error:
        raise _failure(f"importing {name!r} failed", error) from error


def _call(factory: Any, text: str) -> Any:
    if not callable(factory):
        raise LoadingError(f"{text!r}: what is to be called is of {type(factory).__name__!r}")
    if inspect.iscoroutinefunction(factory):
        raise LoadingError(f"{text!r}: the factory is a coroutine function")
    try:
        return factory()
    except Exception as error:
        raise _failure(f"calling {text!r} failed", error) from error


def _failure(what: str, error: Exception) -> LoadingError:
    """`error`, told from the application's first line on."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    inner = "".join(traceback.format_exception(type(error), error, frames))
    return LoadingError(f"{what}: {type(error).__name__}: {error}", inner)


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


def detect_interface(application: Any) -> Interface:
    """How `application` wants to be called, by the number of its parameters.

    Raises `LoadingError` where that does not tell.
    """
    if inspect.isclass(application):
        raise LoadingError(f"{application.__name__!r} is a class; module:name() makes an instance")
    if not callable(application):
        raise LoadingError(f"an object of {type(application).__name__!r} cannot be called")
    fitting = _fitting(application)
    if Interface.WSGI in fitting and _is_asynchronous(application):
        fitting.remove(Interface.WSGI)
    if len(fitting) != 1:
        raise LoadingError(f"cannot tell the interface of {application!r} by its parameters")
    return fitting[0]


def _fitting(application: Callable[..., Any]) -> list[Interface]:
    """The kinds that the parameters allow; those without a default decide, where there are any."""
    try:
        signature = inspect.signature(application)
    except (TypeError, ValueError) as error:  # No Python function is behind it.
        raise LoadingError(f"the parameters of {application!r} are not known") from error
    required = sum(
        parameter.default is parameter.empty
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )
    exact = [kind for kind, count in _PARAMETERS.items() if count == required]
    return exact or [kind for kind, count in _PARAMETERS.items() if _takes(signature, count)]


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_asynchronous(application: Any) -> bool:
    # Partial objects and bound methods are seen through; an object is what its __call__ is.
    function = inspect.unwrap(application)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - not whether, but what it is
    )
