"""Django's PostgreSQL engine, but for how connections are checked, and its pool."""
