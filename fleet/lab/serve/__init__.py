"""What goes into the lab's image: a launcher ``vllm``, and a stand-in for where the real one can't be had.

These files run in the container, by its own python3 and the standard library, as the package ``serve``.
"""
