"""One process or several: who takes part, and the few things that they say to each other.

There is no DistributedDataParallel: it reduces in every backward pass, several times a sandwich step. Each process adds
up its gradients, and one all-reduce a step, over one flat tensor, makes them the same everywhere.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.processes.shared_sum import SharedSum
from search_spaces import InputError

__all__ = ["Processes", "chosen_device", "is_launched", "joined", "refuse_shared_gpus"]


CPU = torch.device("cpu")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all: ``rank`` of ``world``, computing on ``device``."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU
    sums: SharedSum | None = None
    """How large tensors are added up, where there are several processes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values of the first."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def average(
        self, parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor] = (), control: Sequence[float] = ()
    ) -> list[float]:
        """One all-reduce: gradients and buffers become their means, ``control`` becomes its sum.

        A parameter that no process touched keeps None as gradient; one that some touched gets zeros from the others.
        """
        if self.world == 1:
            return list(control)
        touched = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        signals = torch.tensor(list(control), dtype=torch.float32, device=self.device)
        tensors = [*pieces, *buffers]
        flat = torch.cat([*(tensor.reshape(-1) for tensor in tensors), touched, signals])
        sizes = [tensor.numel() for tensor in tensors]
        flat[: sum(sizes)] /= self.world
        self.add_up(flat)
        *means, tail = flat.split([*sizes, len(touched) + len(signals)])
        views = [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]
        torch._foreach_copy_(tensors, views)  # keeps the tensors' memory format
        counts = tail.tolist()  # the one thing that the host waits for
        for parameter, piece, count in zip(parameters, pieces, counts, strict=False):
            parameter.grad = piece if count else None
        return counts[len(parameters) :]

    def add_up(self, tensor: Tensor) -> None:
        """Make a contiguous tensor the sum of what every process has in it, in place."""
        if self.world > 1:
            (self.sums.add_up if self.sums else dist.all_reduce)(tensor)

    def gather(self, value: Any) -> list[Any]:
        """What every process gave, in the order of the ranks. Arrays and plain values of our own processes only."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def from_first(self, compute: Callable[[], Value]) -> Value:
        """What ``compute`` gives in the first process, the only one that calls it; its error is raised everywhere."""
        if self.world == 1:
            return compute()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = compute()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def barrier(self) -> None:
        if self.world > 1:
            arrived = torch.zeros(1, device=self.device)
            dist.all_reduce(arrived)
            arrived.item()  # a GPU answers before it is done


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun or Slurm's srun started together; one process if neither did.

    They find each other once and stay together until they end. If they parted after the block, the next block could
    reach the address at which the first process still answered for the last one, and would wait there for ever. So
    where one of them fails and lives on, the others wait for it until the group's timeout.

    Args:
        device: ``auto`` (the GPU of this process's local rank if there is one), ``cpu``, ``cuda``, ``cuda:1``, …

    Raises:
        InputError: the device does not exist here, or another process computes on the same GPU.
    """
    place = _environment()
    chosen = chosen_device(device, place.device_index if place else int(os.environ.get("LOCAL_RANK", "0")))
    if place and chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if place and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, init_method="env://", rank=place.rank, world_size=place.world)
        atexit.register(_part)
        _refuse_one_gpu_for_two(chosen, place.world)
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen, _sums())
    else:
        yield Processes(device=chosen)


def _refuse_one_gpu_for_two(device: torch.device, world: int) -> None:
    """NCCL wants a GPU for each process, and says so in the middle of the first exchange, on one of them."""
    mine = None
    if device.type == "cuda":
        identity = getattr(torch.cuda.get_device_properties(device), "uuid", None)  # torch 2.4 does not tell it
        mine = None if identity is None else (socket.gethostname(), str(identity))
    everybody: list[tuple[str, str] | None] = [None] * world
    dist.all_gather_object(everybody, mine)  # over gloo: every process gets to know, and ends with the same message
    refuse_shared_gpus(everybody)


def refuse_shared_gpus(gpus: Sequence[tuple[str, str] | None]) -> None:
    """Raise InputError where two processes name the same GPU.

    Args:
        gpus: of each rank, the host and the GPU's own identity; None computes on a CPU.
    """
    first: dict[tuple[str, str], int] = {}
    for rank, gpu in enumerate(gpus):
        if gpu is not None and first.setdefault(gpu, rank) != rank:
            raise InputError(
                f"processes {first[gpu]} and {rank} both compute on GPU {gpu[1]} of {gpu[0]}; start as many processes "
                "as there are GPUs, with the device auto or cuda (torchrun --nproc-per-node N, or srun "
                "--gpus-per-task=1)"
            )


@functools.cache
def _sums() -> SharedSum:
    """One for as long as the processes are together: its memory is used again."""
    return SharedSum()


def _part() -> None:
    _sums.cache_clear()
    if dist.is_initialized():
        dist.destroy_process_group()


def is_launched() -> bool:
    """Whether torchrun, srun or we ourselves have started several processes, of which this is one."""
    return dist.is_initialized() or _environment() is not None


@dataclass(frozen=True, slots=True)
class _Place:
    rank: int
    world: int
    device_index: int
    """Which of the GPUs that this process sees is its own."""


def _environment() -> _Place | None:
    """What the launcher says in environment variables; None for one process."""
    env = os.environ
    if int(env.get("WORLD_SIZE", "1")) > 1 and "RANK" in env:
        return _Place(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", "0")))
    # SLURM_NTASKS is also set in a batch script that runs one process; the step's count is not.
    if int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        env.setdefault("MASTER_ADDR", _first_host(env["SLURM_STEP_NODELIST"]))
        env.setdefault("MASTER_PORT", str(20000 + int(env.get("SLURM_JOB_ID", "0")) % 10000))
        rank, world = int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
        # With --gpus-per-task=1 srun shows each task its own GPU alone, which it counts as the first.
        is_bound = torch.cuda.is_available() and torch.cuda.device_count() == 1
        return _Place(rank, world, 0 if is_bound else int(env.get("SLURM_LOCALID", "0")))
    return None


def _first_host(nodes: str) -> str:
    """The first of Slurm's compressed list of host names, such as ``node[03-07,9]``."""
    if "[" not in nodes:
        return nodes.split(",")[0]
    try:
        listing = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True, timeout=30
        ).stdout.split()
        return listing[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        raise InputError(f"cannot tell the first host of {nodes!r}; set MASTER_ADDR and MASTER_PORT") from None


def chosen_device(name: str, device_index: int = 0) -> torch.device:
    """What a device's name means in a process whose own GPU is the one of that index.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto" and not torch.cuda.is_available():
        return CPU
    if name == "auto":
        name = "cuda"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device {name!r}: no GPU can be used here; use cpu")
        index = device_index if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise InputError(f"device {name!r}: there are {torch.cuda.device_count()} GPUs here, counted from 0")
        return torch.device("cuda", index)
    return device
