from .config import PAPER_TRAINING as PAPER_TRAINING
from .config import TrainConfig as TrainConfig
from .loop import train as train
from .report import facts_of as facts_of
from .report import write_report as write_report
from .scenes import Cache as Cache
from .scenes import Recipe as Recipe
from .scenes import prepare as prepare

__all__: list[str]
