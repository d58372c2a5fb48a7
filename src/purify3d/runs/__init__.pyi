from .folder import check_writable as check_writable
from .run import Run as Run
from .run import open_run as open_run
from .run import query as query

__all__: list[str]
