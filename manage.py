#!/usr/bin/env python
"""Django's commands. Without DATABASE_URL they are for the embedded servers of RUNYARD_HOME."""

import os
import sys
import traceback

from devstack.discovery import name_embedded_servers
from devstack.errors import DevstackError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        name_embedded_servers(sys.argv[1:])
    except DevstackError as error:
        sys.exit(str(error))

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a setting or an action: the message says what to change
        if error.__cause__:
            traceback.print_exception(error.__cause__)
        sys.exit(str(error))


if __name__ == "__main__":
    main()
