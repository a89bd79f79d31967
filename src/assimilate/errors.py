"""Errors of the user, as opposed to faults of the program."""


class UserError(Exception):
    """A message for the user: names the key, the value, what is allowed and what helps. Ends a job with exit code 2."""
