"""Three small networks of different kinds: a ResNet, a ConvNeXt and a vision transformer.

They learn in minutes on one core; larger networks come from timm (`architectures`). Every network
here has ``embed`` (images to features) and ``head`` (features to logits, one linear layer).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):  # type: ignore[misc]
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, "Deep residual learning")."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of shape (n_images, n_out, height / stride, width / stride)."""
        inner = functional.relu(self.first_norm(self.first(features)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(features))


class ResNet(nn.Module):  # type: ignore[misc]
    """Four stages of residual blocks, mean pooling and one linear layer."""

    def __init__(self, n_tags: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.stages = nn.Sequential(
            ResidualBlock(24, 40, 2),
            ResidualBlock(40, 40, 1),
            ResidualBlock(40, 80, 2),
            ResidualBlock(80, 80, 1),
            ResidualBlock(80, 120, 2),
        )
        self.head = nn.Linear(120, n_tags)

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features, shape (n_images, 120)."""
        return self.stages(self.stem(images)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags) for images of shape (n_images, 3, h, w)."""
        return self.head(self.embed(images))


class ConvNextBlock(nn.Module):  # type: ignore[misc]
    """A wide depthwise convolution and an inverted bottleneck (Liu et al. 2022, "A ConvNet")."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        inner = self.norm(self.depthwise(features).permute(0, 2, 3, 1))
        inner = self.contract(functional.gelu(self.expand(inner)))
        return features + (self.scale * inner).permute(0, 3, 1, 2)


class ConvNext(nn.Module):  # type: ignore[misc]
    """A two-step stem, three stages of ConvNeXt blocks, mean pooling and one linear layer.

    One large patch layer, as in the paper, loses the eyes of a figure on 64 pixels.
    """

    def __init__(self, n_tags: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(3, 20, 3, 2, 1),
            nn.BatchNorm2d(20),
            nn.GELU(),
            nn.Conv2d(20, 40, 3, 2, 1),
            ConvNextBlock(40),
            ConvNextBlock(40),
            nn.BatchNorm2d(40),
            nn.Conv2d(40, 80, 2, 2),
            ConvNextBlock(80),
            ConvNextBlock(80),
            ConvNextBlock(80),
            nn.BatchNorm2d(80),
            nn.Conv2d(80, 128, 2, 2),
            ConvNextBlock(128),
            ConvNextBlock(128),
        )
        self.norm = nn.LayerNorm(128)
        self.head = nn.Linear(128, n_tags)

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features, shape (n_images, 128)."""
        return self.norm(self.stages(images).mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags) for images of shape (n_images, 3, h, w)."""
        return self.head(self.embed(images))


class EncoderBlock(nn.Module):  # type: ignore[misc]
    """Self-attention and a two-layer network, each normalised before and added after."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 3 * width)
        self.contract = nn.Linear(3 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape, (n_images, n_tokens, width)."""
        _, n_tokens, width = tokens.shape
        mixed = self.mix(self.attention_norm(tokens))
        mixed = mixed.reshape(-1, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        scale = (width // self.n_heads) ** -0.5
        share = (query * scale @ key.transpose(-2, -1)).softmax(-1)
        tokens = tokens + self.out((share @ value).transpose(1, 2).reshape(-1, n_tokens, width))
        return tokens + self.contract(functional.gelu(self.expand(self.inner_norm(tokens))))


class VisionTransformer(nn.Module):  # type: ignore[misc]
    """A convolutional stem with a token for every 12 x 12 pixels, then transformer blocks.

    The stem in place of one large patch layer makes so small a transformer learn in minutes.

    References
    ----------
    Dosovitskiy et al. (2021), "An image is worth 16x16 words".
    Xiao et al. (2021), "Early convolutions help transformers see better".
    """

    width = 112

    def __init__(self, n_tags: int, size: int = 96) -> None:
        super().__init__()
        n_tokens = ((size - 2) // 3 + 1 + 3) // 4
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 4, 3, 1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, self.width, 3, 2, 1),
        )
        self.position = nn.Parameter(torch.randn(1, n_tokens**2, self.width) * 0.02)
        self.blocks = nn.Sequential(*(EncoderBlock(self.width, 4) for _ in range(4)))
        self.norm = nn.LayerNorm(self.width)
        self.head = nn.Linear(self.width, n_tags)

    def embed(self, images: Tensor) -> Tensor:
        """Return the mean token, shape (n_images, 112)."""
        tokens = self.stem(images).flatten(2).transpose(1, 2) + self.position
        return self.norm(self.blocks(tokens)).mean(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags) for images of shape (n_images, 3, h, w)."""
        return self.head(self.embed(images))


BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResNet,
    "convnext": ConvNext,
    "vit": VisionTransformer,
}
