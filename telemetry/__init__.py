"""What an operator sees of the processes: numbers that they count together, and traces. Knows no app."""
