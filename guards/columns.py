"""What the columns of a row are called, in reasons that people read."""

from collections.abc import Sequence


def column_names(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Name each of ``width`` columns.

    One name per column is taken as it is; a single name stands for a whole
    tensor and is indexed; no name at all numbers the columns.

    Raises:
        ValueError: there are several names, but not one per column.
    """
    if len(names) == width:
        return tuple(names)
    if len(names) == 1:
        return tuple(f"{names[0]}[{column}]" for column in range(width))
    if names:
        raise ValueError(f"{len(names)} names for {width} columns")
    return tuple(f"column {column}" for column in range(width))
