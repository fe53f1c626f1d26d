"""The command line: ``angelia``, or ``python -m angelia``. A user of the public API, no more."""
