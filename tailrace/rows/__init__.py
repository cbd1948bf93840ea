"""What rows and days must be like before anything uses them."""
