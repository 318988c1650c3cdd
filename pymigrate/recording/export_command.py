"""`pymigrate export`: a recording in the form of another tool."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pymigrate.recording.recording import Recording
from pymigrate.recording.tracker import tracker_json

__all__ = ["export"]


@click.command("export")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
def export(recording: Path, output: Path) -> None:
    """Write RECORDING's fallbacks and compactions as the JSON of mcgrof/plot-fragmentation's tracker."""
    content = tracker_json(Recording.load(recording))
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    click.echo(f"{output}: {content['metadata']['total_events']:,} events", err=True)
