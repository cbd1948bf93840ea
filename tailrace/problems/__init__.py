"""What depends on the kind of question that a pipeline asks."""
