"""A Django application in a process of its own, since settings are the process's.

The argument, ``asgi`` or ``wsgi``, says by which interface it is called. Prints its port when it
listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path

import angelia
from angelia.hosting.asgi import ASGIHandler
from angelia.hosting.wsgi import WSGIHandler


def facts(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse(
        {
            "name": name,
            "method": request.method,
            "query": request.GET.dict(),
            "uri": request.build_absolute_uri(),
            "cookies": request.COOKIES,
        }
    )


def form(request: HttpRequest) -> HttpResponse:
    upload = request.FILES["file"]
    return JsonResponse({"field": request.POST["field"], "name": upload.name, "size": upload.size})


def lines() -> Iterator[bytes]:
    for number in range(1000):
        yield b"line %d\n" % number


async def lines_later() -> AsyncIterator[bytes]:
    for line in lines():
        yield line


def stream(request: HttpRequest) -> HttpResponseBase:
    # Django wants an iterator of the interface's own kind.
    content = lines_later() if isinstance(request, ASGIRequest) else lines()
    return StreamingHttpResponse(content, content_type="text/plain")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(Path(__file__).open("rb"), content_type="text/x-python")


async def echo(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(request.body)


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError("a secret")


urlpatterns = [
    path("facts/<str:name>", facts),
    path("form", form),
    path("stream", stream),
    path("file", file),
    path("fail", fail),
    path("echo", echo),
]


def make_handler(interface: str) -> Any:
    if interface == "asgi":
        return ASGIHandler(get_asgi_application())
    return WSGIHandler(get_wsgi_application())


async def main(interface: str) -> None:
    async with make_handler(interface) as handler, angelia.Server(handler) as server:
        await server.start("127.0.0.1", 0)
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        settings.configure(
            ALLOWED_HOSTS=["127.0.0.1"],
            ROOT_URLCONF=__name__,
            SECRET_KEY="secret",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            FILE_UPLOAD_TEMP_DIR=folder,
        )
        django.setup()
        asyncio.run(main(sys.argv[1]))
