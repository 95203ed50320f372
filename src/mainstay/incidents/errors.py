"""What the incidents room refuses."""

from mainstay.kernel.errors import Unavailable


class Restricted(Unavailable):
    """People's routes are closed for now: the operators look into a possible breach. Nothing of yours was changed;
    API keys go on working. Come back in a while."""

    code = "restricted"

    def __init__(self) -> None:
        super().__init__(" ".join((type(self).__doc__ or "").split()), retry_after_seconds=60)
