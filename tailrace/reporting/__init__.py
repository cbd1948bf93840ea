"""Turns results into files for people: the evaluation report and the model card."""
