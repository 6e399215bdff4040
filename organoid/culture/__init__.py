"""The simulated tissue: where units are, which of them a pulse recruits, and what the network makes of it."""

from organoid.culture.calibration import StimulationCalibration
from organoid.culture.geometry import Geometry, place
from organoid.culture.presets import PRESETS, PresetCulture, preset
from organoid.culture.recruitment import Recruitment
from organoid.culture.serialization import can_store, read_network, write_network
from organoid.culture.simulation import simulate
from organoid.culture.source import Source, find_source
from organoid.culture.tissue import Tissue
from organoid.culture.tissue_state import TissueBlock, TissueState

__all__ = [
    "Geometry",
    "PRESETS",
    "PresetCulture",
    "Recruitment",
    "Source",
    "StimulationCalibration",
    "Tissue",
    "TissueBlock",
    "TissueState",
    "can_store",
    "find_source",
    "place",
    "preset",
    "write_network",
    "simulate",
    "read_network",
]
