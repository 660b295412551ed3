"""Bytes to pixels to a network's tensor, and depth back onto the photo's grid; numpy."""
