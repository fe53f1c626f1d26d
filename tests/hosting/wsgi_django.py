"""A Django application on `WSGIHandler`, in a process of its own: settings are the process's.

Prints its port when it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
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


def stream(request: HttpRequest) -> HttpResponseBase:
    def lines() -> Iterator[bytes]:
        for number in range(1000):
            yield b"line %d\n" % number

    return StreamingHttpResponse(lines(), content_type="text/plain")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(Path(__file__).open("rb"), content_type="text/x-python")


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError("a secret")


urlpatterns = [
    path("facts/<str:name>", facts),
    path("form", form),
    path("stream", stream),
    path("file", file),
    path("fail", fail),
]


async def main() -> None:
    async with WSGIHandler(get_wsgi_application()) as handler, angelia.Server(handler) as server:
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
