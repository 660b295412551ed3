"""A photo or a scene through an artifact, to what was found and what it is."""
