"""One tree of errors. A user's error says in one sentence what is wrong, where, and what to do."""

INTERRUPTED = 130
"""Exit code of a command, or of a process that trains for another one, that was stopped by Ctrl-C."""
RESUME = "--resume (in Python resume=True)"
"""How to go on with a run, in a sentence."""
OVERWRITE = "--overwrite (in Python overwrite=True)"
"""How to replace a run, in a sentence."""
DEBUG = "CRIINET_DEBUG"
"""The environment variable that lets errors pass as they are."""


class CriinetError(Exception):
    """Base of every error that criinet raises on purpose."""

    exit_code = 1


class UserError(CriinetError):
    """Input that a person can mend: the command line prints the sentence alone and exits with 2."""

    exit_code = 2


class DataError(UserError):
    """A dataset, an image, a mask or a split that cannot be used as it is."""


class ConfigError(UserError):
    """An unknown key, a value out of range, or settings that contradict each other."""


class MethodError(UserError):
    """A method that fails, or returns something else than the trainer asks for."""


class NetworkError(UserError):
    """A network that fails, or gives something else than it announces."""


class RunError(UserError):
    """A run folder that is missing, already there, or not the run that was asked for."""


class CheckpointError(RunError):
    """A checkpoint that is truncated, foreign, or of a newer format."""


class StorageError(UserError):
    """A place that cannot be written, or that ran out of space."""


class DivergedError(UserError):
    """A loss that became NaN or exploded; the last good checkpoint, if there is one, is kept."""


class ShapeError(CriinetError, ValueError):
    """Tensors or arrays whose shapes do not fit together."""


class InterruptedRunError(CriinetError):
    """A run that was stopped by Ctrl-C after a whole step, and saved."""

    exit_code = INTERRUPTED


class ParityError(CriinetError):
    """An exported network that does not give what the run gives; its file is not kept."""
