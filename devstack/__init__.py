"""The embedded servers and the runner behind `make run`, `make demo` and the tests. Never used in production.

Stands apart from the applications: it imports none of them, and of the project only `manage.py` and the tests
import it.
"""
