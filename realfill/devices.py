"""Which device and which precision: the only place that decides."""

import importlib.util
import os
import re

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from realfill.command_line import is_launched
from realfill.errors import UserError
from realfill.settings import TrainingFlags

SHORTAGE = (
    "out of memory|allocate memory|ALLOC_FAILED|can't start new thread"
    "|could not (create|execute) a primitive(?! descriptor)|failed to map segment"
)
"""What torch, the system, CUDA's libraries, Python, oneDNN and the loader of libraries say when
memory runs out."""
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def start_process() -> PartialState:
    """Join the other processes of the launch, if any, on the GPU if there is one."""
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=cpu)
    if cpu and torch.get_num_threads() == 1 and is_launched():
        # The launchers set one thread unless they are told otherwise; the cores are there.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max(1, (cores or 1) // state.num_processes))
    return state


def cpu_has_bf16() -> bool:
    """Say whether this processor multiplies bfloat16 natively (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def choose_precision(device: torch.device, requested: str | None) -> str:
    """Return `requested` ("no", "fp16", "bf16"), or the fastest safe precision of `device`.

    Raises `UserError` if the device cannot do what was requested.
    """
    cuda_has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(False)
    if requested is None:
        if device.type == "cuda":
            return "bf16" if cuda_has_bf16 else "fp16"
        return "bf16" if device.type == "cpu" and cpu_has_bf16() else "no"
    if requested == "fp16" and device.type == "cpu":
        raise UserError(
            "--mixed_precision fp16 needs a GPU and none was found; "
            "leave the flag out or use --mixed_precision bf16"
        )
    if requested == "bf16" and device.type == "cuda" and not cuda_has_bf16:
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--mixed_precision bf16: {name} has no bfloat16; use fp16")
    return requested


def autocast(device: torch.device) -> torch.autocast:
    """Return a context in which `device` computes in bfloat16, if it does that fast.

    A CPU without instructions for it takes many times as long with it.
    """
    fast = choose_precision(device, None) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def check_flags(flags: TrainingFlags, device: torch.device) -> None:
    """Refuse training flags that need what this machine lacks, before anything is loaded."""
    xformers = "enable_xformers_memory_efficient_attention"
    gpu_flags = (xformers, "use_8bit_adam", "use_4bit_base", "allow_tf32")
    for flag in gpu_flags:
        if getattr(flags, flag) and device.type != "cuda":
            raise UserError(f"--{flag} needs an NVIDIA GPU and none was found; leave the flag out")
    needed = {
        "xformers": flags.enable_xformers_memory_efficient_attention,
        "bitsandbytes": flags.use_8bit_adam or flags.use_4bit_base,
        "wandb": flags.report_to == "wandb",
        "tensorboard": flags.report_to == "tensorboard",
    }
    for package, wanted in needed.items():
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(
                f"a flag needs {package}, which is not installed: pip install {package}"
            )


def is_shortage(error: BaseException | None) -> bool:
    """Say whether `error` came from a lack of memory, whichever library raised it."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or re.search(SHORTAGE, str(error)):
        return True
    return is_shortage(error.__cause__ or error.__context__)
