#!/usr/bin/env python
"""Django's commands. Without DATABASE_URL they are for the embedded servers of RUNYARD_HOME."""

import os
import sys

from devstack.discovery import name_embedded_servers
from devstack.errors import DevstackError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        name_embedded_servers(sys.argv[1:])
    except DevstackError as error:
        sys.exit(str(error))

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
