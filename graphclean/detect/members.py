"""The members of a detector that combines others: registered names, made into detectors."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from graphclean.detect.base import Detector
from graphclean.types import InputError


def make_members(names: Sequence[str], kind: type[Any], **params: Any) -> dict[str, Any]:
    """Build the detectors of the given names with their defaults.

    Args:
        names: Registered names, each once.
        kind: ``Detector``, or the kind of detector that every member must be.
        **params: Parameters for all members; a member that does not know one is built without it.

    Returns:
        The unfitted detectors by name, in the order given.

    Raises:
        InputError: There is no member, one is given twice, or one is no registered ``kind``.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise InputError("members", names, "Pass a tuple of registered detector names.")
    members: dict[str, Any] = {}
    for name in names:
        found = Detector.registry.get(name) if isinstance(name, str) else None
        if found is None or not issubclass(found, kind):
            known = sorted(n for n, cls in Detector.registry.items() if issubclass(cls, kind))
            raise InputError("members", name, f"Choose from: {', '.join(known)}.")
        if name in members:
            raise InputError("members", f"{name!r} twice", "Name every member once.")
        accepted = inspect.signature(found).parameters
        members[name] = found(**{key: v for key, v in params.items() if key in accepted})
    return members
