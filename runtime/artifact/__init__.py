"""An artifact: what its manifest says, its folder on disk, its archive."""
