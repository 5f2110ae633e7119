from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

_Made = TypeVar("_Made")

@final
class Reader(Generic[_Made]):
    def __new__(
        cls,
        made: type[Any],
        kinds: str,
        otherwise: Callable[[bytes], _Made],
        rows: Reader[Any] | None = None,
    ) -> Reader[_Made]: ...
    def __call__(self, raw: bytes, /) -> _Made: ...
