"""One kind of tensor on one GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tensor:
    """``count`` equal tensors of ``inputs`` × ``outputs`` values on one GPU; ``packable``: a linear layer's matrix,
    which quantisation may pack; ``copies`` matrices lie in one allocation (experts).
    """

    component: str
    count: int
    inputs: int
    outputs: int = 1
    packable: bool = False
    copies: int = 1

    @property
    def parameters(self) -> int:
        """Values in all of them together."""
        return self.count * self.copies * self.inputs * self.outputs
