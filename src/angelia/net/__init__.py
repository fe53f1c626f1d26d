"""Where asyncio lives: sockets, transports, name resolution, the connection pool, streams."""
