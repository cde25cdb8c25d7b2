"""How statements that are asked for each request or batch reach PostgreSQL, where the ORM's own way takes too long."""
