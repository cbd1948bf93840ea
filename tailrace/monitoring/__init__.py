"""How published days compare with what the model learned from, and how they turned out."""
