"""Operators of ATen that a .pt2 file may hold: those of networks, by name without overload.

The others are refused: some read files, some do not check the indices that they write at. Found by
exporting sixty architectures of timm and the models of this project, with their kin.
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
all amax amin any argmax argmin argsort count_nonzero cumprod cumsum kthvalue linalg_norm
linalg_vector_norm log_softmax logsumexp max mean median min norm prod quantile softmax sort std
std_mean sum topk var var_mean
"""
_SHAPES = """
_to_copy alias arange broadcast_tensors broadcast_to cat channel_shuffle chunk clone concat
constant_pad_nd contiguous copy detach diagonal expand expand_as eye fill flatten flip full
full_like gather index index_select lift lift_fresh lift_fresh_copy linspace meshgrid movedim
moveaxis narrow new_full new_ones new_zeros one_hot ones ones_like pad permute pixel_shuffle
pixel_unshuffle reflection_pad1d reflection_pad2d repeat repeat_interleave replication_pad1d
replication_pad2d reshape reshape_as roll scalar_tensor select size slice slice_scatter split
split_with_sizes squeeze stack swapaxes swapdims sym_numel sym_size t take_along_dim tensor_split
tile to transpose tril triu type_as unbind unflatten unfold unsqueeze view view_as zeros zeros_like
_assert_scalar _assert_tensor_metadata _unsafe_view
"""
_LAYERS = """
_native_batch_norm_legit_no_training _upsample_bilinear2d_aa _upsample_bicubic2d_aa
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d addmm alpha_dropout
avg_pool1d avg_pool2d baddbmm batch_norm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d
col2im convolution cosine_similarity dot dropout einsum embedding feature_dropout fft_irfft2
fft_rfft2
grid_sampler group_norm gru im2col instance_norm layer_norm linear lstm matmul max_pool1d
max_pool2d max_pool2d_with_indices mm mv native_batch_norm native_group_norm native_layer_norm
outer rms_norm scaled_dot_product_attention upsample_bicubic2d upsample_bilinear2d
upsample_linear1d upsample_nearest1d upsample_nearest2d view_as_complex view_as_real
"""
OPERATORS = frozenset(f"{_ELEMENTWISE} {_REDUCTIONS} {_SHAPES} {_LAYERS}".split())
