"""The environment variables that change numbers, by allow-list. All others are left out, whatever they are called."""

from collections.abc import Mapping

from stratal.tracking.capture.secrets import is_secret_name, mask

# Families whose members select devices, threads, numerics or communication.
_FAMILIES = (
    "BLIS_", "CUBLAS_", "CUDA_", "CUDNN_", "GLOO_", "GOTO_", "HIP_", "JAX_", "KMP_", "MKL_", "NCCL_", "NUMEXPR_", "NVIDIA_", "OMP_",
    "OPENBLAS_", "PYTORCH_", "ROCR_", "TF_CUDNN_", "TF_DETERMINISTIC", "TF_ENABLE_", "TF_GPU_", "TF_NUM_", "TF_XLA_", "TORCH_",
    "VECLIB_", "XLA_",
)  # fmt: skip
_NAMES = frozenset(
    (
        "CONDA_DEFAULT_ENV", "LANG", "LC_ALL", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "POLARS_MAX_THREADS", "PYTHONHASHSEED", "RANK",
        "SLURM_CPUS_PER_TASK", "SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_PROCID", "TZ", "WORLD_SIZE",
    )
)  # fmt: skip
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS",
)  # fmt: skip
_LONGEST = 1000  # a longer value is no switch


def allowed_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the allowed variables, sorted; one that is named like a secret is left out, one that looks like one is masked."""
    return {name: mask(environ[name])[:_LONGEST] for name in sorted(environ) if is_allowed(name)}


def is_allowed(name: str) -> bool:
    """Tell whether a variable may be kept."""
    return (name in _NAMES or name.startswith(_FAMILIES)) and not is_secret_name(name)


def thread_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that bound threads: they change sums in the last digits."""
    return {name: mask(environ[name])[:_LONGEST] for name in THREADS if name in environ}
