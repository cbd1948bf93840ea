"""The rows that a training learns from and is judged by."""
