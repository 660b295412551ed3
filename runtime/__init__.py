"""What an artifact is and how a photo goes through it; numpy, no model code."""
