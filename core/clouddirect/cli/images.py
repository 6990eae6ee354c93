"""``clouddirect images``: the images that IRIS shared."""

from __future__ import annotations

from pathlib import Path

import click

from clouddirect.cli.app import App, json_option, pass_app, patient_option
from clouddirect.cli.exits import DONE
from clouddirect.cli.output import Rows, emit_json, when

__all__ = ["images"]


@click.group("images", short_help="List and fetch the images that IRIS shared.")
def images() -> None:
    """The images that IRIS pushes into the store shared_images at delivery, with key/value metadata."""


@images.command("list", short_help="List shared images.")
@click.argument("prefix", default="")
@json_option
@patient_option
@pass_app
def list_shared(app: App, prefix: str, as_json: bool, show_patient_data: bool) -> int:
    """List the images whose keys begin with PREFIX.

    Metadata may identify the patient: without --show-patient-data only its names are shown.

    With --json, one line an image: {"key", "size", "content_type", "modified_at", "metadata"}.
    """
    rows = Rows([("Stored", 14), ("Bytes", 12), ("Key", None)])
    with app.client() as client:
        for found in client.shared_images(prefix):
            metadata = {name: value if show_patient_data else "…" for name, value in found.metadata.items()}
            if as_json:
                at = found.modified_at.isoformat() if found.modified_at else None
                emit_json({"key": found.key, "size": found.size, "content_type": found.content_type,
                           "modified_at": at, "metadata": metadata})  # fmt: skip
            else:
                details = [f"{name} = {value}" for name, value in metadata.items()]
                rows.add((when(found.modified_at), f"{found.size:,}", found.key), details)
    if not as_json:
        rows.end("no images are shared" + (" under this prefix" if prefix else ""))
    return DONE


@images.command("fetch", short_help="Download shared images.")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--to", "directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", default=Path("shared-images"),
    show_default=True, help="Where the files go.",
)  # fmt: skip
@click.option("--prefix", metavar="TEXT", help="Fetch every image whose key begins with this; '' for all.")
@click.option("--replace", is_flag=True, help="Fetch again what is there already, in its place.")
@json_option
@pass_app
def fetch(app: App, keys: tuple[str, ...], directory: Path, prefix: str | None, replace: bool, as_json: bool) -> int:
    """Download each image named by KEY, verified, with its metadata beside it as NAME.json.

    With --prefix, images that are there already are passed over; a KEY that is there already is an error. Where another
    image has the name, the name gets a number.

    With --json, one line an image: {"key", "size", "verified", "path", "metadata_path"}; all but the key are null for
    one that was passed over.
    """
    from clouddirect.errors import AlreadyExistsError

    if bool(keys) == (prefix is not None):
        raise click.UsageError("name KEYs, or give --prefix")
    rows = Rows([("Bytes", 12), ("Verified", 14), ("File", None)])
    with app.client() as client:
        wanted = keys if prefix is None else (found.key for found in client.shared_images(prefix))
        for key in wanted:
            try:
                saved = client.fetch_shared_image(key, directory, replace=replace)
            except AlreadyExistsError:
                if prefix is None:
                    raise
                if as_json:
                    emit_json({"key": key, "size": None, "verified": None, "path": None, "metadata_path": None})
                continue
            size, verified = saved.stored.size, saved.stored.verified
            if as_json:
                emit_json({"key": key, "size": size, "verified": verified, "path": str(saved.path),
                           "metadata_path": str(saved.metadata_path)})  # fmt: skip
            else:
                rows.add((f"{size:,}", verified or "size only", str(saved.path)))
    return DONE
