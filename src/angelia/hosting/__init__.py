"""Handlers that run other people's applications. It names nothing: import its modules."""
