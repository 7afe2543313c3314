"""Losses as pure functions of tensors, usable in anyone's own loop."""

from criinet.losses.class_attraction import class_attraction
from criinet.losses.coarse_refined import (
    ConsistencyTarget,
    Descriptors,
    RankedGeometry,
    coarse_refined_consistency,
    inter_patch_ranked_loss,
    intra_patch_ranked_loss,
    low_contrast_weight,
    patch_descriptors,
)
from criinet.losses.masked import masked_mean_squared
from criinet.losses.patches import Patches, at_stride, boundary_band, boundary_patches, draw_pixels, pure_patches
from criinet.losses.pseudo_labels import confident_labels, cross_entropy_over_all, sharpen
from criinet.losses.pyramid import deep_supervision, uncertainty_rectified_consistency
from criinet.losses.ranked import ranked_list_loss
from criinet.losses.segmentation import cross_entropy_dice, entropy, mean_squared, soft_dice_loss, squared_dice_loss
from criinet.losses.signed_distance import inside_probability, signed_distance, signed_distance_loss
from criinet.losses.virtual_adversarial import dice_distance, virtual_adversarial_change

__all__ = [
    "ConsistencyTarget",
    "Descriptors",
    "Patches",
    "RankedGeometry",
    "at_stride",
    "boundary_band",
    "boundary_patches",
    "class_attraction",
    "coarse_refined_consistency",
    "confident_labels",
    "cross_entropy_dice",
    "cross_entropy_over_all",
    "deep_supervision",
    "dice_distance",
    "draw_pixels",
    "entropy",
    "inside_probability",
    "inter_patch_ranked_loss",
    "intra_patch_ranked_loss",
    "low_contrast_weight",
    "masked_mean_squared",
    "mean_squared",
    "patch_descriptors",
    "pure_patches",
    "ranked_list_loss",
    "sharpen",
    "signed_distance",
    "signed_distance_loss",
    "soft_dice_loss",
    "squared_dice_loss",
    "uncertainty_rectified_consistency",
    "virtual_adversarial_change",
]
