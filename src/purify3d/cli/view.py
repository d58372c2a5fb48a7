"""`purify3d view`: a finished run on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from purify3d.cli import flags, show


@click.command(cls=flags.Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--text",
    "texts",
    multiple=True,
    help="Question to ask at once; with --share several, and the page shows the heat of each.",
)
@click.option(
    "--host",
    default="localhost",
    help="Address to serve at. With another than this one, other machines can open the page with its token.",
)
@click.option(
    "--port", default=8080, type=click.IntRange(0, 65535), help="Port to serve at; 0: any free one."
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@click.option(
    "--screenshot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture instead of serving.",
)
@click.option(
    "--share",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write one .html file that opens anywhere, without a server and without the network.",
)
@flags.device
def view(
    run: Path,
    texts: tuple[str, ...],
    host: str,
    port: int,
    no_open: bool,
    screenshot: Path | None,
    share: Path | None,
    device: str,
) -> None:
    """A finished RUN in the browser: ask, compare, click, measure. Ctrl-C ends it.

    The first view pools the features and keeps them in the run folder, as the first question does.

    Examples:
        purify3d view runs/room
        purify3d view runs/room --share room.html --text "bed" --text "lamp"
    """
    if share is not None and screenshot is not None:
        raise click.UsageError("found --share and --screenshot; expected one of them")
    if share is None and len(texts) > 1:
        raise click.UsageError("found --text several times; expected it once, or --share")
    text = "".join(texts)
    click.echo(f"viewing {run}", err=True)
    import torch

    from purify3d.base.errors import PurifyError
    from purify3d.runs import Run
    from purify3d.viewing.boxes import boxes
    from purify3d.viewing.client import Client
    from purify3d.viewing.detail import BUDGET
    from purify3d.viewing.page import Page, check_installed
    from purify3d.viewing.photos import photos
    from purify3d.viewing.scene import ViewedScene
    from purify3d.viewing.screenshot import screenshot as picture_of
    from purify3d.viewing.share.single_file import check_place, questions, write_page
    from purify3d.viewing.share.single_file import share as page_of
    from purify3d.viewing.words import Words

    if share is not None:
        check_place(share)  # before the work
    elif screenshot is None:
        check_installed()
    finished = Run.open(run, device=device, progress=show.progress)
    words = Words(finished.backbone)
    viewed = ViewedScene.of(finished, words)
    if screenshot is not None:
        picture_of(viewed, words, text).save(screenshot)
        return show.wrote([screenshot])
    offset = viewed.center.astype("float64") + viewed.scene.origin
    notes, things = [], []
    try:
        things = boxes(finished, offset)
    except PurifyError as error:
        notes = [f"no objects are shown: {error}"]
        click.echo(f"note: {notes[0]}", err=True)
    if share is not None:
        html = page_of(viewed, words, questions(viewed, words, texts), things=things)
        write_page(share, html)
        left = max(len(viewed) - BUDGET, 0)
        said = f", a fair sample: {left:,} of {len(viewed):,} are left out" if left else ""
        return click.echo(f"wrote {share} ({len(html) / 1e6:.1f} MB, {len(viewed) - left:,} points{said})")
    seen = photos(finished, offset)
    if seen.missing:
        click.echo(f"note: {seen.missing}", err=True)
    torch.set_num_threads(1)  # clients are served side by side, and threads that wait for each other are slow

    def visit(handle: Any) -> Client:
        return Client(handle, viewed, words, seen, things, notes=notes, text=text)

    page = Page(viewed.scene.up, visit, host=host, port=port)
    try:
        if port and page.port != port:
            click.echo(f"note: port {port} is taken", err=True)
        if page.token is not None:
            click.echo(
                f"warning: from {host} the scan can be seen on other machines by whoever has this address, "
                "and it is sent without encryption. On networks that are not yours keep to localhost, and "
                f"forward the port: ssh -L {page.port}:localhost:{page.port} THIS_MACHINE",
                err=True,
            )
        click.echo(page.address)
        if not no_open:
            click.launch(page.address)
        click.echo("Ctrl-C ends it", err=True)
        page.wait()
    except KeyboardInterrupt:
        click.echo("closed", err=True)
    finally:
        page.stop()
