"""Checks of rows and days before anything uses them."""
