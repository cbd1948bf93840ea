"""Where models learn and score."""
