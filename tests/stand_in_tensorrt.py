"""A stand-in for NVIDIA's tensorrt: what ``runtime.engines.tensorrt`` calls, by ONNX Runtime.

An "engine" is the graph's own bytes, and addresses are those of host memory. It shows that the
calls come in their order with what they need. It proves nothing about TensorRT or a GPU.
"""

import ctypes
import enum
import math
from pathlib import Path
from typing import Any, Optional

import numpy as np

from runtime.engines.onnxruntime import import_onnxruntime

__version__ = "10.0.0"
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
built: list[str] = []  # files of which engines were built
scale = 1.0  # by which every result is wrong
refuses = ""  # what the parser says of every graph


class Logger:
    WARNING = 2

    def __init__(self, severity: int) -> None:
        assert severity == self.WARNING


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 7


class Config:
    flags = frozenset({BuilderFlag.TF32})

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags = self.flags - {flag}


class Network:
    def __init__(self, flags: int) -> None:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.file = ""


class Builder:
    def __init__(self, logger: Logger) -> None:
        pass

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Network, config: Config) -> Optional[memoryview]:
        assert BuilderFlag.TF32 not in config.flags
        built.append(network.file)
        return memoryview(Path(network.file).read_bytes())


class OnnxParser:
    def __init__(self, network: Network, logger: Logger) -> None:
        self._network = network
        self.num_errors = 0

    def parse_from_file(self, file: str) -> bool:
        self._network.file = file
        self.num_errors = 1 if refuses else 0
        return not refuses

    def get_error(self, index: int) -> str:
        return refuses


class Context:
    def __init__(self, session: Any) -> None:
        self._session, self._places = session, {}

    def set_tensor_address(self, name: str, place: int) -> bool:
        self._places[name] = place
        known = (*self._session.get_inputs(), *self._session.get_outputs())
        return name in [one.name for one in known]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7, "the current stream"
        session = self._session
        given = {one.name: self._array(one) for one in session.get_inputs()}
        for one, found in zip(session.get_outputs(), session.run(None, given)):
            self._array(one)[...] = found * scale
        return True

    def _array(self, tensor: Any) -> np.ndarray:
        dtype = np.dtype(TYPES[tensor.type])
        size = math.prod(tensor.shape) * dtype.itemsize
        memory = (ctypes.c_ubyte * size).from_address(self._places[tensor.name])
        return np.frombuffer(memory, dtype).reshape(tensor.shape)


class Engine:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def create_execution_context(self) -> Context:
        runtime = import_onnxruntime()
        return Context(runtime.InferenceSession(self._data, providers=["CPUExecutionProvider"]))


class Runtime:
    def __init__(self, logger: Logger) -> None:
        pass

    def deserialize_cuda_engine(self, data: bytes) -> Engine:
        return Engine(data)
