"""What the host decides about several photos of one scene: views, cameras, sky; numpy."""
