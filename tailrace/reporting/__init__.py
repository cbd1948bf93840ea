"""From results to files that people read: the evaluation report and the model card."""
