"""What a person starts: the main job, and eager models or artifacts behind one call."""
