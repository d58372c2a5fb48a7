"""Distilling a student: scenes made ready once, one loss a step, checkpoints that are whole."""

from purify3d.training.config import PAPER_TRAINING, TrainConfig
from purify3d.training.loop import train
from purify3d.training.report import facts_of, write_report
from purify3d.training.scenes import Cache, Recipe, prepare

__all__ = [
    "PAPER_TRAINING",
    "Cache",
    "Recipe",
    "TrainConfig",
    "facts_of",
    "prepare",
    "train",
    "write_report",
]
