"""Fixtures that start the peers: one process of each kind per test session."""
