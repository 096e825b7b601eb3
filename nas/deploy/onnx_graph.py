"""One ONNX node, or a few, for each operation of a traced network."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

if TYPE_CHECKING:
    import onnx

__all__ = ["IR_VERSION", "OPSET", "GraphWriter", "UnsupportedError"]

OPSET, IR_VERSION = 17, 8


class UnsupportedError(Exception):
    """There is no ONNX node for an operation here."""


class _Tracer(fx.Tracer):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self._inputs = inputs

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """As torch's, but a module that takes any number of maps, one a branch, takes as many as it is given."""
        if not root_fn.__code__.co_flags & inspect.CO_VARARGS:
            function, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
            return function, arguments
        maps = [self.create_proxy("placeholder", f"input{index}", (), {}) for index in range(self._inputs)]
        return root_fn, [self.root, *maps]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).forward is nn.Identity.forward or isinstance(m, _LAYERS) or super().is_leaf_module(m, "")


_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm, nn.Linear)  # ours are subclasses of torch's


class GraphWriter(fx.Interpreter):
    """Runs the network once and notes an ONNX node for each operation."""

    def __init__(self, net: nn.Module, inputs: int = 1) -> None:
        super().__init__(net, graph=_Tracer(inputs).trace(net))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names: dict[fx.Node, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            self.names[n] = n.name
        elif n.op == "call_module":
            self.names[n] = self._module(n, self.fetch_attr(str(n.target)))
        elif n.op == "call_function" and not _makes_tuple(n):
            self.names[n] = self._call(_FUNCTIONS, n)
        elif n.op == "call_method":
            self.names[n] = self._call(_METHODS, n)
        return result

    def _call(self, table: Mapping[Any, Callable[..., str]], node: fx.Node) -> str:
        if node.target not in table:
            raise UnsupportedError(str(node.target))
        try:
            return table[node.target](self, node, *node.args, **node.kwargs)
        except TypeError:  # an argument that the table's function does not know
            raise UnsupportedError(f"{node.target} with {node.args} {node.kwargs}") from None

    def _module(self, node: fx.Node, module: nn.Module) -> str:
        (source,) = node.args
        if isinstance(module, nn.Identity):
            return self.value_name(source)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            return _convolution(self, node, self.value_name(source), module)
        if isinstance(module, nn.LayerNorm):
            return _layer_norm(self, node, self.value_name(source), module)
        if isinstance(module, nn.Linear):
            return _linear(self, node, self.value_name(source), module)
        if isinstance(module, nn.ReLU):
            return self.node("Relu", node, [self.value_name(source)])
        raise UnsupportedError(type(module).__name__)

    # For the operations ---------------------------------------------------------------------------------------------

    def value_name(self, value: Any) -> str:
        """The ONNX name of a traced value, or of a number as a constant."""
        if isinstance(value, fx.Node):
            if value.op == "get_attr" and value not in self.names:
                self.names[value] = self.constant(value.name, self.env[value].detach().numpy())
            return self.names[value]
        if isinstance(value, int | float):
            return self.constant(f"number{len(self.initializers)}", np.array(value, dtype=np.float32))
        raise UnsupportedError(f"argument {value!r}")

    def rank(self, node: fx.Node) -> int:
        return int(self.env[node].dim())

    def node(self, kind: str, node: fx.Node, inputs: list[str], suffix: str = "", **attributes: Any) -> str:
        """Append a node; the name of its output."""
        from onnx import helper

        name = node.name + suffix
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(
        self, inputs: tuple[Tensor, ...], outputs: Mapping[str, Tensor], dynamic_batch: bool
    ) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        def value(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
            shape: list[int | str] = list(tensor.shape)
            shape[:1] = ["batch"] if dynamic_batch else shape[:1]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        (last,) = (node.args[0] for node in self.graph.nodes if node.op == "output")
        values = last if isinstance(last, tuple) else last.args if _makes_tuple(last) else (last,)
        for name, found in zip(outputs, values, strict=True):
            self.nodes.append(helper.make_node("Identity", [self.value_name(found)], [name]))
        graph = helper.make_graph(
            self.nodes,
            "vipnas",
            [value(node.name, tensor) for node, tensor in zip(placeholders, inputs, strict=True)],
            [value(name, output) for name, output in outputs.items()],
            self.initializers,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="vipnas"
        )


def _makes_tuple(node: fx.Node) -> bool:
    """Whether it only gives its arguments names, as fields of a named tuple: outputs, of which no node is made."""
    return isinstance(node.target, type) and issubclass(node.target, tuple)


def _convolution(writer: GraphWriter, node: fx.Node, source: str, conv: nn.Conv2d | nn.ConvTranspose2d) -> str:
    inputs = [source, writer.constant(f"{node.name}.weight", conv.weight.detach().numpy())]
    if conv.bias is not None:
        inputs.append(writer.constant(f"{node.name}.bias", conv.bias.detach().numpy()))
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise UnsupportedError(f"padding {conv.padding}, {conv.padding_mode}")
    shared: dict[str, Any] = {
        "kernel_shape": list(conv.kernel_size),
        "strides": list(conv.stride),
        "dilations": list(conv.dilation),
        "pads": [*conv.padding, *conv.padding],
        "group": conv.groups,
    }
    if isinstance(conv, nn.ConvTranspose2d):
        return writer.node("ConvTranspose", node, inputs, output_padding=list(conv.output_padding), **shared)
    return writer.node("Conv", node, inputs, **shared)


def _layer_norm(writer: GraphWriter, node: fx.Node, source: str, norm: nn.LayerNorm) -> str:
    inputs = [source, writer.constant(f"{node.name}.weight", norm.weight.detach().numpy())]
    if norm.bias is not None:
        inputs.append(writer.constant(f"{node.name}.bias", norm.bias.detach().numpy()))
    return writer.node("LayerNormalization", node, inputs, axis=-len(norm.normalized_shape), epsilon=norm.eps)


def _linear(writer: GraphWriter, node: fx.Node, source: str, linear: nn.Linear) -> str:
    weight = writer.constant(f"{node.name}.weight", linear.weight.detach().numpy().T)
    if linear.bias is None:
        return writer.node("MatMul", node, [source, weight])
    product = writer.node("MatMul", node, [source, weight], suffix=".product")
    return writer.node("Add", node, [product, writer.constant(f"{node.name}.bias", linear.bias.detach().numpy())])


# Operations: (writer, node, *its arguments) -> the output's name


def _unary(kind: str, **attributes: Any) -> Callable[..., str]:
    def write(writer: GraphWriter, node: fx.Node, x: Any, inplace: bool = False) -> str:
        return writer.node(kind, node, [writer.value_name(x)], **attributes)

    return write


def _binary(kind: str) -> Callable[..., str]:
    def write(writer: GraphWriter, node: fx.Node, a: Any, b: Any) -> str:
        return writer.node(kind, node, [writer.value_name(a), writer.value_name(b)])

    return write


def _softmax(writer: GraphWriter, node: fx.Node, x: fx.Node, dim: int) -> str:
    return writer.node("Softmax", node, [writer.value_name(x)], axis=dim)


def _flatten(writer: GraphWriter, node: fx.Node, x: fx.Node, start_dim: int = 0) -> str:
    shape = np.array([0] * start_dim + [-1], dtype=np.int64)  # 0 copies a dimension
    return writer.node("Reshape", node, [writer.value_name(x), writer.constant(f"{node.name}.shape", shape)])


def _view_as(writer: GraphWriter, node: fx.Node, x: fx.Node, other: fx.Node) -> str:
    sizes = [0, *writer.env[other].shape[1:]]  # 0 copies the batch
    shape = writer.constant(f"{node.name}.shape", np.array(sizes, dtype=np.int64))
    return writer.node("Reshape", node, [writer.value_name(x), shape])


def _transpose(writer: GraphWriter, node: fx.Node, x: fx.Node, first: int, second: int) -> str:
    order = list(range(writer.rank(x)))
    order[first], order[second] = order[second], order[first]
    return writer.node("Transpose", node, [writer.value_name(x)], perm=order)


def _unsqueeze(writer: GraphWriter, node: fx.Node, x: fx.Node, dim: int) -> str:
    axes = writer.constant(f"{node.name}.axes", np.array([dim], dtype=np.int64))
    return writer.node("Unsqueeze", node, [writer.value_name(x), axes])


def _clamp(writer: GraphWriter, node: fx.Node, x: fx.Node, low: float, high: float) -> str:
    return writer.node("Clip", node, [writer.value_name(x), writer.value_name(low), writer.value_name(high)])


def _silu(writer: GraphWriter, node: fx.Node, x: fx.Node, inplace: bool = False) -> str:
    gate = writer.node("Sigmoid", node, [writer.value_name(x)], suffix=".gate")
    return writer.node("Mul", node, [writer.value_name(x), gate])


def _square(writer: GraphWriter, node: fx.Node, x: fx.Node) -> str:
    return writer.node("Mul", node, [writer.value_name(x)] * 2)


def _length(writer: GraphWriter, node: fx.Node, x: fx.Node, dim: int, keepdim: bool = False) -> str:
    return writer.node("ReduceL2", node, [writer.value_name(x)], axes=[dim], keepdims=int(keepdim))


def _clamp_min(writer: GraphWriter, node: fx.Node, x: fx.Node, low: float) -> str:
    return writer.node("Max", node, [writer.value_name(x), writer.value_name(low)])


def _split(writer: GraphWriter, node: fx.Node, x: fx.Node, sizes: list[int], dim: int = 0) -> str:
    """Its outputs are named after it, by their place."""
    from onnx import helper

    lengths = writer.constant(f"{node.name}.sizes", np.array(sizes, dtype=np.int64))
    outputs = [f"{node.name}.{index}" for index in range(len(sizes))]
    writer.nodes.append(helper.make_node("Split", [writer.value_name(x), lengths], outputs, name=node.name, axis=dim))
    return node.name


def _item(writer: GraphWriter, node: fx.Node, x: fx.Node, index: int | slice) -> str:
    """Of a split, or of a parameter."""
    if x.target == "split":
        return f"{writer.names[x]}.{index}"
    if x.op == "get_attr":
        return writer.constant(node.name, writer.env[x][index].detach().numpy())
    raise UnsupportedError(f"item {index} of {x}")


def _max_pool(
    writer: GraphWriter,
    node: fx.Node,
    x: fx.Node,
    kernel_size: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    if dilation != 1 or ceil_mode or return_indices:
        raise UnsupportedError("max pooling with dilation, ceil_mode or return_indices")
    sizes: dict[str, Any] = {"kernel_shape": [kernel_size] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    return writer.node("MaxPool", node, [writer.value_name(x)], **sizes)


def _average_pool(writer: GraphWriter, node: fx.Node, x: fx.Node, output_size: int) -> str:
    if output_size != 1:
        raise UnsupportedError("adaptive average pooling to more than one position")
    return writer.node("GlobalAveragePool", node, [writer.value_name(x)])


def _mean_pool(writer: GraphWriter, node: fx.Node, x: fx.Node, kernel_size: int) -> str:
    sizes: dict[str, Any] = {"kernel_shape": [kernel_size] * 2, "strides": [kernel_size] * 2}
    return writer.node("AveragePool", node, [writer.value_name(x)], **sizes)


def _interpolate(writer: GraphWriter, node: fx.Node, x: fx.Node, **options: Any) -> str:
    chosen = {name: value for name, value in options.items() if value not in (None, False)}
    factor = chosen.pop("scale_factor", None)
    if chosen != {"mode": "nearest"} or not isinstance(factor, int):
        raise UnsupportedError("interpolation other than repetition")
    factors = writer.constant(f"{node.name}.factors", np.array([1, 1, factor, factor], dtype=np.float32))
    how: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}
    return writer.node("Resize", node, [writer.value_name(x), "", factors], **how)


def _pixel_shuffle(writer: GraphWriter, node: fx.Node, x: fx.Node, upscale_factor: int) -> str:
    return writer.node("DepthToSpace", node, [writer.value_name(x)], blocksize=upscale_factor, mode="CRD")


def _concatenate(writer: GraphWriter, node: fx.Node, tensors: list[fx.Node], dim: int = 0) -> str:
    return writer.node("Concat", node, [writer.value_name(tensor) for tensor in tensors], axis=dim)


_FUNCTIONS: dict[Any, Callable[..., str]] = {
    F.relu: _unary("Relu"),
    torch.relu: _unary("Relu"),
    torch.sigmoid: _unary("Sigmoid"),
    F.hardswish: _unary("HardSwish"),
    F.hardsigmoid: _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    F.silu: _silu,
    torch.linalg.vector_norm: _length,
    operator.getitem: _item,
    F.max_pool2d: _max_pool,
    F.adaptive_avg_pool2d: _average_pool,
    F.avg_pool2d: _mean_pool,
    F.interpolate: _interpolate,
    F.pixel_shuffle: _pixel_shuffle,
    torch.softmax: _softmax,
    torch.matmul: _binary("MatMul"),
    torch.cat: _concatenate,
    operator.add: _binary("Add"),
    operator.sub: _binary("Sub"),
    operator.mul: _binary("Mul"),
    operator.truediv: _binary("Div"),
    torch.add: _binary("Add"),
    torch.mul: _binary("Mul"),
}
_METHODS: dict[str, Callable[..., str]] = {
    "flatten": _flatten,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "view_as": _view_as,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "split": _split,
    "square": _square,
    "relu": _unary("Relu"),
    "sigmoid": _unary("Sigmoid"),
}
