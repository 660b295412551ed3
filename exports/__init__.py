"""What was found to files: pure functions to bytes, and one place that writes them."""
