"""A task whose process dies. Little is imported here: every process that a test begins imports it."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from purify3d.base.workers import Task


def die_once(flags: Mapping[str, Path], task: Task) -> int:
    """As if memory ran out in the named tasks, the first time; or whenever, where there is no flag to set."""
    flag = flags.get(task.name)
    if flag is not None and not flag.exists():
        if flag.parent.is_dir():
            flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()
