"""What commands and tasks share: checks, upkeep, reproduction, limits, and the name of the user."""
