"""Scripts that run inside an instance's container, by the image's python3."""
