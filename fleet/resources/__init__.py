"""The kinds of state that a host can be asked to have: one kind, one file."""

from fleet.resources.absent import Absent
from fleet.resources.directory import Directory
from fleet.resources.file import File
from fleet.resources.guard import DOCKER, RUNNING_CONTAINERS, Guard
from fleet.resources.image import DerivedImage, Image
from fleet.resources.json_keys import JsonKeys
from fleet.resources.link import Link
from fleet.resources.packages import Packages
from fleet.resources.service import Service
from fleet.resources.weights import Reach, Tools, Weights

__all__ = [
    "DOCKER",
    "RUNNING_CONTAINERS",
    "Absent",
    "DerivedImage",
    "Directory",
    "File",
    "Guard",
    "Image",
    "JsonKeys",
    "Link",
    "Packages",
    "Reach",
    "Service",
    "Tools",
    "Weights",
]
