"""What a user did, as opposed to what broke."""


class UserError(Exception):
    """A message for the user: names the key, the value, what is allowed and what helps. Ends a job with exit code 2."""
