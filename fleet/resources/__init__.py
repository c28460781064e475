"""The kinds of state that a host can be asked to have: one kind, one file."""

from fleet.resources.absent import Absent
from fleet.resources.cdi_spec import CdiSpec
from fleet.resources.directory import Directory
from fleet.resources.dnf_module import DnfModule
from fleet.resources.file import File
from fleet.resources.guard import DOCKER, RUNNING_CONTAINERS, Guard
from fleet.resources.held import Held
from fleet.resources.image import DerivedImage, Image
from fleet.resources.ini_keys import IniKeys
from fleet.resources.initramfs import Initramfs
from fleet.resources.json_keys import JsonKeys
from fleet.resources.link import Link
from fleet.resources.nvidia_module import DRIVER, HOST, NvidiaModule
from fleet.resources.packages import Packages
from fleet.resources.release import Current, Release
from fleet.resources.repository import Repository
from fleet.resources.service import Service
from fleet.resources.serving import Removed, Serving
from fleet.resources.sysctl import SysctlMinimums
from fleet.resources.trusted_ca import TrustedCa
from fleet.resources.weights import Reach, Tools, Weights

__all__ = [
    "DOCKER",
    "DRIVER",
    "HOST",
    "RUNNING_CONTAINERS",
    "Absent",
    "CdiSpec",
    "Current",
    "DerivedImage",
    "Directory",
    "DnfModule",
    "File",
    "Guard",
    "Held",
    "Image",
    "IniKeys",
    "Initramfs",
    "JsonKeys",
    "Link",
    "NvidiaModule",
    "Packages",
    "Reach",
    "Release",
    "Removed",
    "Repository",
    "Service",
    "Serving",
    "SysctlMinimums",
    "Tools",
    "TrustedCa",
    "Weights",
]
