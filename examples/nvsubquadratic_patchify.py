"""nvSubquadratic's ``Patchify``, which ours takes after: nothing is adapted, so all of the contract is judged."""

from nvsubquadratic.modules.patchify import Patchify

layer = Patchify
