"""Tests of the command line, and the server they run against."""
