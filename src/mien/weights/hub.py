"""Nets in the form of the Hugging Face hub: load, save and push them, with a model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mien.errors import InputError, WeightsError, needs_extra
from mien.media.output import whole_file
from mien.utils.version import __version__
from mien.weights.convert import load_net, save

if TYPE_CHECKING:
    from typing import Self

    from torch.nn import Module
else:
    Module = object  # the nets bring PyTorch's; this module needs none

MODEL_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
CARD_FILE: Final = "README.md"


class HubNet(Module):
    """What a PyTorch net of mien inherits to be loaded from and pushed to the hub.

    The methods are named, and behave, as those of huggingface_hub's ``ModelHubMixin``. A repository
    holds ``model.safetensors``, which carries the sizes of the net, ``config.json``, which repeats
    them for the hub, and the card.

    Attributes:
        spec_type: dataclass of the sizes, the only argument of the net.
        paper: arXiv number of the paper that the net is from.
        spec: the sizes of this net.
    """

    spec_type: ClassVar[type]
    paper: ClassVar[str]
    spec: Any

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Load a net from a folder, or from a repository of the hub.

        Args:
            pretrained_model_name_or_path: a folder that :meth:`save_pretrained` wrote, or
                ``"owner/name"``.
            revision: commit, tag or branch; the default branch otherwise.
            token: of the hub, for private repositories; True takes the one that is logged in.
            cache_dir: where downloads are kept; the hub's own cache otherwise.
            local_files_only: never use the network.
            force_download: download again what is there.

        Returns:
            The net on the CPU, in evaluation mode.

        Raises:
            MissingExtraError: without PyTorch, safetensors or huggingface_hub.
            WeightsError: when it cannot be downloaded, or is another net.
        """
        place = Path(pretrained_model_name_or_path)
        if place.is_dir():
            return load_net(place / MODEL_FILE, cls, cls.spec_type)
        with needs_extra("edtalk", "Loading nets from the hub"):
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import HfHubHTTPError
        try:
            path = hf_hub_download(
                str(pretrained_model_name_or_path),
                MODEL_FILE,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                force_download=force_download,
            )
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise WeightsError(
                f"{pretrained_model_name_or_path} is no folder, and its {MODEL_FILE} cannot be "
                f"downloaded ({str(error).strip().splitlines()[0][:200]})."
            ) from error
        return load_net(Path(path), cls, cls.spec_type)

    def save_pretrained(
        self, save_directory: str | Path, *, licence: str, card: str | None = None
    ) -> Path:
        """Write the net, its sizes and a card to a folder.

        Args:
            save_directory: folder, made where it is missing.
            licence: of these weights, as the hub spells it: ``"apache-2.0"``, ``"other"`` …
            card: what the card says of data, measurements and limits (Markdown).

        Returns:
            The folder.

        Raises:
            InputError: when the folder is a file.
        """
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; name a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        sizes, name = asdict(self.spec), type(self).__name__
        about = {"name": name, "origin": f"mien {__version__}", "licence": licence}
        save(self.state_dict(), folder / MODEL_FILE, sizes, about)
        config = {"model_type": "mien", "architectures": [name], **sizes}
        with whole_file(folder / CONFIG_FILE) as part:
            part.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        with whole_file(folder / CARD_FILE) as part:
            part.write_text(self._card(licence, card), "utf-8")
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        licence: str,
        card: str | None = None,
        commit_message: str = "Push a net of mien.",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to a repository, made where it is missing.

        Returns:
            The address of the commit.

        Raises:
            MissingExtraError: without huggingface_hub. Errors of the hub are passed on.
        """
        with needs_extra("edtalk", "Pushing nets to the hub"):
            from huggingface_hub import HfApi
        hub = HfApi(token=token)
        repository = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, licence=licence, card=card)
            commit = hub.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
            )
        return str(commit.commit_url)

    def _card(self, licence: str, text: str | None) -> str:
        name = type(self).__name__
        about = text or "This card says nothing yet about the data and measurements of the weights."
        use = f'net = {name}.from_pretrained("OWNER/NAME")'
        return card(
            licence,
            f"# {name}\n\nA net of mien, from [arXiv {self.paper}]"
            f"(https://arxiv.org/abs/{self.paper}).\n\n{about.strip()}\n\n"
            f"```python\nfrom {type(self).__module__} import {name}\n\n{use}\n```\n",
            f"arxiv:{self.paper}",
        )


def card(licence: str, text: str, *tags: str) -> str:
    """Return a model card in the hub's form: metadata as YAML, then the text."""
    lines = ["---", f"license: {licence}", "library_name: mien", "tags:"]
    lines += [f"- {tag}" for tag in ("face", "emotion", "talking-head", *tags)]
    return "\n".join([*lines, "---", "", text])
