"""Pages for people: the backend with its tasks, the gallery, one app."""
