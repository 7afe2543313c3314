"""Losses as pure functions of tensors, usable in anyone's own loop."""

from criinet.losses.coarse_refined import (
    Descriptors,
    RankedGeometry,
    coarse_refined_consistency,
    inter_patch_ranked_loss,
    intra_patch_ranked_loss,
    low_contrast_weight,
    patch_descriptors,
)
from criinet.losses.patches import Patches, at_stride, boundary_band, boundary_patches, draw_pixels, pure_patches
from criinet.losses.pseudo_labels import cross_entropy_over_all, sharpen, sure_pixels
from criinet.losses.ranked import ranked_list_loss
from criinet.losses.segmentation import cross_entropy_dice, entropy, mean_squared, soft_dice_loss

__all__ = [
    "Descriptors",
    "Patches",
    "RankedGeometry",
    "at_stride",
    "boundary_band",
    "boundary_patches",
    "coarse_refined_consistency",
    "cross_entropy_dice",
    "cross_entropy_over_all",
    "draw_pixels",
    "entropy",
    "inter_patch_ranked_loss",
    "intra_patch_ranked_loss",
    "low_contrast_weight",
    "mean_squared",
    "patch_descriptors",
    "pure_patches",
    "ranked_list_loss",
    "sharpen",
    "soft_dice_loss",
    "sure_pixels",
]
