"""The kinds of state that a host can be asked to have: one kind, one file."""

from fleet.resources.image import DerivedImage, Image
from fleet.resources.weights import Reach, Tools, Weights

__all__ = [
    "DerivedImage",
    "Image",
    "Reach",
    "Tools",
    "Weights",
]
