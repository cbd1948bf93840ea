"""What commands and tasks share: checks, upkeep, reproduction, limits and who asked."""
