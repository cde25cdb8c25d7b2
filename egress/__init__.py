"""Outgoing HTTP that cannot be turned against our own network. Knows no app."""
