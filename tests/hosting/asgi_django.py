"""A Django application on `ASGIHandler`, in a process of its own: settings are the process's.

Prints its port when it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
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


def stream(request: HttpRequest) -> HttpResponseBase:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield b"line %d\n" % number

    return StreamingHttpResponse(lines(), content_type="text/plain")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(Path(__file__).open("rb"), content_type="text/x-python")


async def later(request: HttpRequest) -> HttpResponse:
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
    path("later", later),
]


async def main() -> None:
    async with ASGIHandler(get_asgi_application()) as handler, angelia.Server(handler) as server:
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
        asyncio.run(main())
