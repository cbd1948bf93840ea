"""The rows that a training run learns from and is evaluated on."""
