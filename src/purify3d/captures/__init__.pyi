from .config import CaptureConfig as CaptureConfig
from .finding import FORMATS as FORMATS
from .finding import is_procedural as is_procedural
from .opening import capture_config as capture_config
from .opening import open_capture as open_capture
from .reading.sound import guarded as guarded

__all__: list[str]
