"""The HTTP server: a handler, ``async def handler(request) -> response``, answers requests."""
