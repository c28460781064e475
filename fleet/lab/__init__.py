"""A fleet of real systemd hosts on one machine, for the demo and the tests."""
