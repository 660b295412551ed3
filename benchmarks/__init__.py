"""Measurements that the documentation quotes: each command makes its own table again."""
