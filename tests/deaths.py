"""A task whose process dies. Little is imported here: every process that a test begins imports it."""

import os
import signal
from pathlib import Path

from purify3d.base.workers import Task


def die_once(flag: Path, name: str, task: Task) -> int:
    """As if memory ran out in one task, the first time; or whenever, where there is no flag to set."""
    if task.name == name and not flag.exists():
        if flag.parent.is_dir():
            flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()
