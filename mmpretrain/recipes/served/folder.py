"""Whatever a person names that can be asked for vectors: a run, or an exported folder."""

from collections.abc import Mapping
from pathlib import Path

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.precision import WeightPrecision
from mmpretrain.core.run import Run
from mmpretrain.recipes.served.onnx import digest_of_files, is_export, open_export
from mmpretrain.recipes.served.run import digest_of, open_run
from mmpretrain.serving.served import Index, Served

NO_INDEXES: Mapping[str, Index] = {}


def open_folder(
    folder: Path,
    name: str = "",
    indexes: Mapping[str, Index] = NO_INDEXES,
    precision: WeightPrecision | None = None,
) -> Served:
    """The model in it.

    Args:
        name: empty: that of the folder.
        precision: of a run's weights; None: fp32, or what an export has.

    Raises:
        ConfigError: neither a run nor an export, or an export in another precision than its own.
    """
    name = name or folder.resolve().name
    require_model(folder)
    if not is_export(folder):
        return open_run(folder, name, indexes, precision or "fp32")
    if precision:
        raise ConfigError(f"--precision: {folder} is an export, whose numbers are what they are; leave it out")
    return open_export(folder, name, indexes)


def require_model(folder: Path) -> None:
    """Raises ConfigError: neither a run nor an export."""
    if not is_export(folder) and not Run(folder).config.is_file():
        raise ConfigError(
            f"{folder}: neither a run folder (it has no config.yaml) nor a folder of `mmpretrain export --to onnx` (it "
            "has no preprocess.json)"
        )


def digest_of_folder(folder: Path) -> str:
    """Changes with the weights."""
    require_model(folder)
    return digest_of_files(folder) if is_export(folder) else digest_of(folder)


def require_vectors(served: Served) -> None:
    """Raises ConfigError: it gives none."""
    if "embeddings" not in served.facts.can:
        raise ConfigError(
            f"{served.facts.folder}: learned {', '.join(served.facts.learned)} and gives no vectors of texts and "
            "pictures; train with contrastive or sigmoid"
        )
