"""Operators of ATen that a .pt2 file may hold: those of networks, by name without overload.

The others are refused. Some read files; some write or read beside their arrays where these are
shorter than expected (native_batch_norm, lstm), or where a scale is tiny (torch 2.15). Found by
exporting seventy networks of timm and segmentation_models_pytorch, and the models of this project.
"""

from __future__ import annotations

_ELEMENTWISE = """
__and__ __or__ __xor__
abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil
celu clamp clamp_max clamp_min clip cos cosh div divide elu eq erf exp exp2 expm1 floor
floor_divide fmod frac ge gelu glu gt hardsigmoid hardswish hardtanh isfinite isinf isnan le
leaky_relu lerp log log10 log1p log2 log_sigmoid logical_and logical_not logical_or logical_xor lt
masked_fill maximum minimum mish mul multiply nan_to_num ne neg pow prelu reciprocal relu relu6
remainder round rsqrt rsub selu sigmoid sign silu sin sinh softplus sqrt square sub
subtract tan tanh threshold true_divide trunc where xlogy
"""
_REDUCTIONS = """
all amax amin any argmax argmin cumsum linalg_vector_norm log_softmax logsumexp max mean min norm
softmax std std_mean sum topk var var_mean
"""
_SHAPES = """
alias arange broadcast_to cat chunk clone concat contiguous copy detach expand expand_as eye fill
flatten flip full full_like index lift_fresh_copy linspace meshgrid movedim narrow new_full new_ones
new_zeros ones ones_like pad permute pixel_shuffle pixel_unshuffle repeat repeat_interleave reshape
reshape_as roll scalar_tensor select slice split split_with_sizes squeeze stack swapaxes sym_numel
sym_size t tensor_split tile to transpose type_as unbind unflatten unfold unsqueeze view view_as
zeros zeros_like _assert_scalar _assert_tensor_metadata
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d addmm alpha_dropout avg_pool2d baddbmm
batch_norm bmm conv1d conv2d conv3d conv_transpose2d dropout feature_dropout group_norm
instance_norm layer_norm linear matmul max_pool2d mm rms_norm scaled_dot_product_attention
upsample_bicubic2d upsample_bilinear2d upsample_nearest2d
"""
OPERATORS = frozenset(f"{_ELEMENTWISE} {_REDUCTIONS} {_SHAPES} {_LAYERS}".split())
