"""``clouddirect upload``: put images into the store, for orders that name them or for IRIS to pick up."""

from __future__ import annotations

from pathlib import Path

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE
from clouddirect.cli.output import Rows, emit_json
from clouddirect.cli.progress import upload_progress

__all__ = ["upload"]


@click.command(short_help="Upload images.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, readable=True)
)
@json_option
@pass_app
def upload(app: App, files: tuple[str, ...], as_json: bool) -> int:
    """Upload each image FILE under a new, unique name without patient data, and print container and name.

    Put them into Camera.Images of an order, as AzureBlobStorage.Container and FileName. An order sent before its
    images needs no entry: IRIS reads from the image itself whose it is.

    With --json, one line an image: {"file", "container", "key", "size"}. After a failure the images printed so far
    are stored.
    """
    from clouddirect.orders.images import ImageFile

    rows = Rows([("Container", 20), ("Name", 42), ("Bytes", None)])
    with app.client() as client:
        for file in files:
            with upload_progress() as progress:
                uploaded = client.upload_image(ImageFile(source=Path(file)), progress=progress)
            size = uploaded.stored.size
            if as_json:
                emit_json({"file": file, "container": uploaded.container, "key": uploaded.key, "size": size})
            else:
                rows.add((uploaded.container, uploaded.key, f"{size:,}"), [file])
    return DONE
