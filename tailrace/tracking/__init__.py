"""What was tried, with what, and which model versions came of it."""
