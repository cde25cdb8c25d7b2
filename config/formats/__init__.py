"""How times are written in the admin: UTC, with seconds, in the order that sorts."""
