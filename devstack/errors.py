"""What stops a start, told in words that a person at the terminal can act on."""


class DevstackError(Exception):
    """Printed as one plain message, without a traceback; the command then ends with status 1."""
