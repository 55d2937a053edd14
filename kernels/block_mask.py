"""Which queries see which keys, by classes: a mask of any rectangles in memory that grows with T and not with T²."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BlockMask:
    """A query sees a key, as far as the other masks let it, if its class sees the key's class.

    query, key: the class of each, int `[query]` and `[key]` or with a batch in front. sees: `[query class, key class]`.
    """

    query: Tensor
    key: Tensor
    sees: Tensor

    def checked(self, q: Tensor, k: Tensor) -> "BlockMask":
        """The same for these queries and keys: int32 `[batch, query]`, `[batch, key]`, on their device.

        Raises ValueError for classes that `sees` does not have and for other lengths.
        """
        sees = torch.as_tensor(self.sees, device=q.device)
        if sees.ndim != 2 or sees.dtype != torch.bool or not sees.numel():
            raise ValueError(f"sees is {sees.dtype} {tuple(sees.shape)}; give bool [query class, key class]")
        classes = []
        for axis, (name, ids, like) in enumerate((("query", self.query, q), ("key", self.key, k))):
            ids = torch.as_tensor(ids, device=q.device)
            wanted = (like.shape[0], like.shape[2])
            if ids.dtype.is_floating_point or ids.dtype == torch.bool or ids.shape not in (wanted[1:], wanted):
                raise ValueError(
                    f"the {name} classes are {ids.dtype} {tuple(ids.shape)}; give integers {wanted[1:]} or {wanted}"
                )
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= sees.shape[axis]:
                raise ValueError(f"the {name} classes go from {low} to {high}; sees has 0 to {sees.shape[axis] - 1}")
            classes.append(ids.to(torch.int32).expand(wanted).contiguous())
        query, key = classes
        return BlockMask(query, key, sees.contiguous())

    def visible(self, batch: int, query: Tensor, key: Tensor) -> Tensor:
        """Whether the queries see the keys, given as indices that broadcast, in one row of the batch."""
        return self.sees[self.query[batch, query].long(), self.key[batch, key].long()]
