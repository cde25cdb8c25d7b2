"""Django's PostgreSQL engine, but for its pool: `config.database` names it where threads share connections."""
