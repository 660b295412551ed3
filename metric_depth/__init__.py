"""The demo checkpoint: scenes that are generated, a training that uses them, and its judge."""
