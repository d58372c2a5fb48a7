from .content import Content as Content
from .formats import COLORS as COLORS
from .formats import FORMATS as FORMATS
from .formats import Wishes as Wishes
from .writing import export as export

__all__: list[str]
