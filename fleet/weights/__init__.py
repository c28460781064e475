"""Models: what their hubs say of them, and how their bytes come to lie on a host."""
