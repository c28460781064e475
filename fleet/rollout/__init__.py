"""A new model, image or setting on every host, a wave at a time, and no request fails.

``turn`` is one host's way as a table, ``waves`` is who goes when; both are pure. ``journal`` remembers, ``drive`` does.
"""
